"""Stands still with three threads and a child that inherits every descriptor, so that it can be looked at from outside."""
import ctypes
import subprocess
import sys
import threading
from verdicts import libc, saw

PR_GET_DUMPABLE, PR_GET_SECUREBITS = 3, 27

release = threading.Event()
for _ in range(3):
    threading.Thread(target=release.wait, daemon=True).start()
saw("dumpable", libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
saw("securebits", hex(libc.prctl(PR_GET_SECUREBITS, 0, 0, 0, 0)))
# Whoever sees the child sees everything: it is started last.
subprocess.Popen(["sleep", "1000." + sys.argv[1]], close_fds=False).wait()
