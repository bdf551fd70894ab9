"""Spins with as many processes, or threads, as it gets. They begin together, when the last one is there."""
import os
import sys
import threading
import zlib
from verdicts import saw

wait, go = os.pipe()
data = bytes(8 * 1024 * 1024)
spinners = 1


def spin():
    # A C call that lets other threads run meanwhile.
    while True:
        zlib.crc32(data)


def spin_later():
    os.read(wait, 1)
    spin()


threading.stack_size(256 * 1024)
try:
    while True:
        if sys.argv[2] == "threads":
            threading.Thread(target=spin_later).start()
        elif os.fork() == 0:
            os.close(go)
            spin_later()
        spinners += 1
except (OSError, RuntimeError):
    pass
saw("armed", spinners)
os.close(go)
spin()
