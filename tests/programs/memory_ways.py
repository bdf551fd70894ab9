"""Takes kernel memory by the way named in the first argument until it has as many MiB as the second says."""
import fcntl
import mmap
import os
import socket
import sys
from verdicts import saw, word

way, wanted = sys.argv[1], int(sys.argv[2])
block = b"x" * (1 << 20)
held = []


def memfd():
    held.append(os.memfd_create("block"))
    return os.write(held[-1], block)


def pipes():
    ends = os.pipe()
    held.extend(ends)
    try:
        fcntl.fcntl(ends[1], 1031, 1 << 20)
    except OSError:
        pass
    os.set_blocking(ends[1], False)
    return os.write(ends[1], block)


def sockets():
    pair = socket.socketpair()
    held.extend(pair)
    taken = 0
    for one in pair:
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        try:
            while True:
                taken += one.send(block)
        except BlockingIOError:
            pass
    return taken


def page_tables():
    # One byte in every 2 MiB: a page and a page table each.
    area = mmap.mmap(-1, 1 << 30)
    held.append(area)
    for place in range(0, 1 << 30, 1 << 21):
        area[place] = 1
    return (1 << 9) * 8192


def files():
    name = f"{('/tmp', '/dev/shm', '.')[len(held) % 3]}/block-{len(held)}"
    held.append(name)
    with open(name, "wb") as target:
        return target.write(block)


def shared():
    held.append(mmap.mmap(-1, 1 << 20))
    return held[-1].write(block)


taken = 0
print("SAW way", way, flush=True)
try:
    while taken < wanted << 20:
        taken += globals()[way]()
    print("REACHED", way, taken >> 20, flush=True)
except (OSError, MemoryError, ValueError) as error:
    print("REFUSED", way, word(error), flush=True)
saw("taken_mib", taken >> 20)
