"""Opens files, pipes, sockets and terminals and locks memory without end (100,000 of each at most)."""
import ctypes
import os
import pty
import socket
from verdicts import libc, saw, word


def exhaust(name, take, give_back):
    taken = []
    try:
        while len(taken) < 100_000:
            taken.append(take())
        print("REACHED", name, len(taken))
    except (OSError, MemoryError) as error:
        print("REFUSED", name, word(error))
    count = len(taken)
    for one in taken:
        give_back(one)
    saw(f"{name}_count", count)


exhaust("files", lambda: os.open("/dev/null", os.O_RDONLY), os.close)
exhaust("pipes", os.pipe, lambda ends: [os.close(end) for end in ends])
exhaust("sockets", lambda: socket.socket(socket.AF_UNIX), lambda one: one.close())
exhaust("terminals", pty.openpty, lambda ends: [os.close(end) for end in ends])


def lock():
    buffer = ctypes.create_string_buffer(1 << 20)
    if libc.mlock(buffer, ctypes.c_size_t(1 << 20)) != 0:
        raise OSError(ctypes.get_errno() or 12, "mlock")
    return buffer


locked = []
try:
    while len(locked) < 256:
        locked.append(lock())
    print("REACHED locked_memory", len(locked))
except OSError as error:
    print("REFUSED locked_memory", word(error))
print("SAW finished cleanly")
