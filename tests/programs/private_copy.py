"""Writes through /proc/self/mem into its own private, read-only view of a file of the image; the file must not change."""
import ctypes
import mmap
import os
import sys
from verdicts import saw

path = sys.argv[1]
before = open(path, "rb").read(16)
descriptor = os.open(path, os.O_RDONLY)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
address = libc.mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ, mmap.MAP_PRIVATE, descriptor, ctypes.c_long(0))
try:
    memory = os.open("/proc/self/mem", os.O_RDWR)
    os.pwrite(memory, b"overwritten", address)
    saw("view", ctypes.string_at(address, 11).decode("latin-1"))
except OSError as error:
    saw("view", f"errno {error.errno}")
saw("file", "unchanged" if open(path, "rb").read(16) == before else "changed")
