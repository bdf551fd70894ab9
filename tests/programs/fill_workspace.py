"""Fills the working directory: many files, then one preallocated; the argument is MiB in all for each way."""
import os
import sys
from verdicts import attempt, saw

total = int(sys.argv[1])
here = os.getcwd()


def many_files():
    for number in range(total):
        with open(f"{here}/fill-{number}", "wb") as out:
            out.write(b"x" * (1 << 20))


attempt("many_files", many_files)
saw("many_files_left", len([name for name in os.listdir(here) if name.startswith("fill-")]))
for name in os.listdir(here):
    if name.startswith("fill-"):
        os.unlink(f"{here}/{name}")


def preallocate():
    descriptor = os.open(f"{here}/preallocated", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, total << 20)


attempt("preallocate", preallocate)
