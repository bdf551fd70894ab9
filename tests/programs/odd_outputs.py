"""Leaves outputs with every name and size that a collector may stumble over."""
import os
from verdicts import attempt, saw


def write(name, content=b"odd\n"):
    with open(name, "wb") as target:
        target.write(content)


for name in (b"new\nline.odd", b"not-\xff-utf8.odd", b"escape-\x1b[31m.odd", b"-rf.odd", b"a" * 251 + b".odd", b"back\\slash.odd", b" space .odd",
             b"quote'\".odd", b"tab\t.odd", b"star*.odd", "käse-☃.odd".encode(), b"..odd", b"...odd"):
    attempt("make " + repr(name)[:40], lambda: write(name))
os.makedirs(b"dir-\xff/sub")
write(b"dir-\xff/sub/deep.odd")
os.mkdir("closed")
write("closed/in.odd")
os.chmod("closed", 0)
write("unreadable.odd")
os.chmod("unreadable.odd", 0)


def sparse():
    descriptor = os.open("sparse.odd", os.O_CREAT | os.O_WRONLY)
    os.truncate(descriptor, 1 << 40)


attempt("sparse 1 TiB", sparse)


def large_hole():
    os.close(os.open("hole.odd", os.O_CREAT | os.O_WRONLY))
    os.truncate("hole.odd", 20 << 20)


attempt("hole of 20 MiB", large_hole)
write("set-id.odd")
os.chmod("set-id.odd", 0o6777)
write("good.odd", b"the good one\n")
saw("outputs", "left")
