"""Writes to stdout for ever; `lines` with newlines, `solid` without."""
import os
import sys

os.write(1, b"HEAD OF OUTPUT\n")
chunk = (b"x" * 63 + b"\n") * 1024 if sys.argv[1] == "lines" else b"x" * 65536
while True:
    os.write(1, chunk)
