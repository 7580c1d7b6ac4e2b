# Verifies tokens with PyJWT's client of key sets. Arguments: the address of the key set, and tokens. Standard output: the
# key IDs, one a line.
import sys
import jwt

client = jwt.PyJWKClient(sys.argv[1])
for token in sys.argv[2:]:
    key = client.get_signing_key_from_jwt(token)
    jwt.decode(token, key, algorithms=[key.algorithm_name], options={"verify_exp": False})
    print(key.key_id)
