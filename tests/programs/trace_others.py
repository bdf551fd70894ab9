"""Tries to trace, read and write another process: the one named in the argument, pid 1 and its parent."""
import ctypes
import os
import sys
from verdicts import attempt, call

PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def read_memory(pid):
    buffer = ctypes.create_string_buffer(8)
    local = Iovec(ctypes.addressof(buffer), 8)
    remote = Iovec(map_of(pid), 8)
    return call("process_vm_readv", pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)


def map_of(pid):
    with open(f"/proc/{pid}/maps") as maps:
        return int(maps.readline().split("-")[0], 16)


def open_memory(pid):
    with open(f"/proc/{pid}/mem", "rb+", buffering=0) as memory:
        memory.seek(map_of(pid))
        return memory.read(4)


def seize(pid):
    call("ptrace", PTRACE_SEIZE, pid, 0, 0)
    os.kill(pid, 0)


targets = {"outsider": int(sys.argv[1])}
if "inside" in sys.argv:
    targets.update(init=1, parent=os.getppid())
for name, pid in targets.items():
    attempt(f"{name}_read_memory", lambda: read_memory(pid))
    attempt(f"{name}_open_memory", lambda: open_memory(pid))
    attempt(f"{name}_environ", lambda: open(f"/proc/{pid}/environ", "rb").read(8))
    attempt(f"{name}_pidfd_getfd", lambda: call("pidfd_getfd", os.pidfd_open(pid), 0, 0))
    attempt(f"{name}_seize", lambda: seize(pid))
