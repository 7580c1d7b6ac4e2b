# What a recorder of terminals gets wrong, MEGABYTES of it: the argument. At the end it tells the SHA-256 of it.
import hashlib, os, random, sys

size = int(sys.argv[1]) << 20
part = size // 5
source = random.Random(5)
digest = hashlib.sha256()


def write(data):
    digest.update(data)
    while data:
        data = data[os.write(1, data):]


def fill(pattern):
    """Writes a pattern again and again. Its length is odd, so that chunks end at each place in it in turn."""
    if len(pattern) % 2 == 0:
        pattern += b"."
    write((pattern * (part // len(pattern) + 1))[:part])


# Random bytes, newlines among them. There are none in the rest: each record costs the drains time.
write(source.randbytes(part))
# Invalid UTF-8 of all kinds: bytes alone, cut and overlong runes, surrogates, beyond U+10FFFF.
fill(b"\x80 \xc3 \xe2\x82 \xf0\x9f\x99 \xc0\xaf \xe0\x80\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xff\xfe\r")
# Escape sequences of all kinds, and runes of each length.
fill("\x1b[1;38;2;255;127;0mbold\x1b[0m \x1b]0;a title\x07 \x1b]8;;https://example.com\x1b\\link \x1bP$qm\x1b\\ \x1b(B é漢🙂 \x9b31m".encode())
# A line without an end, of runes.
fill("漢🙂é".encode())
# A control string without an end, and random bytes behind it, without newlines.
write(b"\x1b]0;" + source.randbytes(part - 4).replace(b"\n", b"\x1b"))
os.system("stty sane")
print("\r\nsum:" + digest.hexdigest(), flush=True)
