"""Guesses the way to other jobs' files: through /proc of every pid it can name, and by likely paths."""
import os
import sys
from verdicts import attempt

outsider = sys.argv[1]
for link in ("root", "cwd", "fd", "exe"):
    attempt(f"outsider {link}", lambda: os.listdir(f"/proc/{outsider}/{link}") if link != "exe" else os.readlink(f"/proc/{outsider}/exe"))
for pid in (1, os.getppid()):
    if "inside" in sys.argv:
        for link in ("root", "cwd"):
            attempt(f"pid {pid} {link}", lambda: os.listdir(f"/proc/{pid}/{link}/") if pid != os.getpid() else None)
for path in sys.argv[2:]:
    if path != "inside":
        attempt("guess " + path, lambda: os.listdir(path))
