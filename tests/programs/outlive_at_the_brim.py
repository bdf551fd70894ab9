"""Fills its memory until its processes die of it, again and again, and reads files so that there is always something to
reclaim. The main process itself stays small."""
import mmap
import os
import sys
import time
from verdicts import saw

limit = int(sys.argv[2]) * 1024 * 1024
hogs = int(sys.argv[3])
step = 256 * 1024


def fill():
    """Most of the share at once, the rest slowly, then round and round over what it has."""
    blocks, share = [], limit // hogs
    while True:
        try:
            block = mmap.mmap(-1, step)
        except (OSError, ValueError, MemoryError):
            block = None
        if block is not None:
            block[::4096] = b"x" * (step // 4096)
            blocks.append(block)
        if block is None or len(blocks) * step > share * 0.95:
            for old in blocks:
                old[::4096] = b"y" * (step // 4096)
        if len(blocks) * step > 2 * limit:
            time.sleep(0.01)


def read():
    while True:
        for directory, _, names in os.walk("/usr/lib"):
            for name in names:
                try:
                    with open(os.path.join(directory, name), "rb") as file:
                        while file.read(1 << 20):
                            pass
                except OSError:
                    pass


def start(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


workers = {start(fill): fill for _ in range(hogs)}
workers[start(read)] = read
saw("armed", len(workers) + 1)
while True:
    pid, _ = os.wait()
    work = workers.pop(pid, None)
    if work is not None:
        workers[start(work)] = work
