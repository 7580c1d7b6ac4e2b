# Verifies tokens with PyJWT. Standard input: {"jwks": {…}, "tokens": {NAME: TOKEN}}. Standard output: for each
# name the header, the claims, and the error for a token that is verified with its expiry.
import json, sys
import jwt

request = json.load(sys.stdin)
keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(request["jwks"]).keys}
answer = {}
for name, token in request["tokens"].items():
    header = jwt.get_unverified_header(token)
    key = keys[header["kid"]]
    algorithms = [key.algorithm_name]
    # Everything but the expiry holds, the signature first of all; iat must not be in the future.
    claims = jwt.decode(token, key, algorithms=algorithms, options={"verify_exp": False})
    try:
        jwt.decode(token, key, algorithms=algorithms)
        error = ""
    except jwt.PyJWTError as e:
        error = type(e).__name__
    # Any other signature is refused.
    signed, _, signature = token.rpartition(".")
    forged = signed + "." + ("B" if signature[0] == "A" else "A") + signature[1:]
    try:
        jwt.decode(forged, key, algorithms=algorithms, options={"verify_exp": False})
        forgery = ""
    except jwt.PyJWTError as e:
        forgery = type(e).__name__
    answer[name] = {"header": header, "claims": claims, "error": error, "forgery": forgery}
json.dump(answer, sys.stdout)
