"""Processes with as many mappings as the kernel gives, all of which have to be torn down."""
import ctypes
import os
import sys
import time
from verdicts import libc, saw

processes, mappings = int(sys.argv[2]), int(sys.argv[3])
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PRIVATE_ANONYMOUS, PAGE = 0x22, 4096
start = libc.mmap(None, 2 * mappings * PAGE, 0, PRIVATE_ANONYMOUS, -1, 0)
made = 0
# Every second page with other rights: two mappings for each.
for number in range(mappings):
    if libc.mprotect(start + 2 * number * PAGE, PAGE, 3) != 0:
        break
    ctypes.c_char.from_address(start + 2 * number * PAGE).value = b"x"
    made += 1
saw("mappings", made)
count = 1
for _ in range(processes):
    try:
        if os.fork() == 0:
            while True:
                time.sleep(1)
        count += 1
    except OSError:
        break
saw("armed", count)
while True:
    time.sleep(1)
