"""Writes the number of MiB in its argument to stdout and stderr, turn by turn."""
import os
import sys

for _ in range(int(sys.argv[1]) * 16):
    os.write(1, b"o" * 65535 + b"\n")
    os.write(2, b"e" * 65535 + b"\n")
os.write(1, b"END OUT\n")
os.write(2, b"END ERR\n")
