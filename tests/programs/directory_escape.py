"""Looks for a way to the host's files through every directory that it can hold: inherited descriptors, magic links, `..`."""
import os
import sys
from verdicts import attempt, saw

wanted = sys.argv[1].lstrip("/")
up = "/".join([".."] * 12)
directories = {}
for name in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        directories["descriptor " + name] = os.open(f"/proc/self/fd/{name}", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        pass
for name in ("/", ".", "/proc/self/root", "/proc/self/cwd", "/proc/thread-self/root", "/proc/1/root", "/proc/1/cwd", "/dev/fd", "/proc/self/ns"):
    try:
        directories[name] = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        saw("closed", f"{name} {error.errno}")


def read(path, directory):
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags, dir_fd=directory)) as source:
        return source.read(20)


for name, directory in directories.items():
    attempt(f"{name} up", lambda: read(f"{up}/{wanted}", directory))
    attempt(f"{name} down", lambda: read(wanted, directory))
if directories:
    os.fchdir(next(iter(directories.values())))
    attempt("changed directory", lambda: read(f"{up}/{wanted}", os.open(".", os.O_RDONLY)))
