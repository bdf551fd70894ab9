"""Grows one file up to the number of MiB in its argument."""
import sys
from verdicts import saw, word

written = 0
try:
    with open("big", "wb", buffering=0) as out:
        for _ in range(int(sys.argv[1])):
            written += out.write(b"x" * (1 << 20))
    print("REACHED file_size", written >> 20)
except OSError as error:
    print("REFUSED file_size", word(error))
saw("written_mib", written >> 20)
