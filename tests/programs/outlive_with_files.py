"""Fills its tmpfs with many files and many bytes, and goes on writing."""
import os
import sys
from verdicts import saw

files, megabytes = int(sys.argv[2]), int(sys.argv[3])
os.makedirs("/workspace/many", exist_ok=True)
made = 0
try:
    for number in range(files):
        with open("/workspace/many/%d" % number, "wb") as file:
            file.write(b"x")
        made += 1
except OSError:
    pass
written = 0
block = bytes(1 << 20)
try:
    with open("/workspace/big", "wb") as big:
        for _ in range(megabytes):
            big.write(block)
            written += 1
except OSError:
    pass
saw("files", made)
saw("megabytes", written)
saw("armed", made)
while True:
    with open("/workspace/again", "wb") as file:
        try:
            file.write(block)
        except OSError:
            pass
    os.rename("/workspace/again", "/workspace/again2")
