"""All at once: signals blocked, mappings, handles, locks that nobody frees, stopped and spinning and dying children."""
import ctypes
import mmap
import os
import signal
import time
from verdicts import libc, saw

signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.valid_signals()))
held = []
try:
    while True:
        held.append(os.memfd_create("held"))
except OSError:
    pass
os.close(held.pop())
os.close(held.pop())
memory = mmap.mmap(-1, 64 << 20)
memory[::4096] = b"x" * (len(memory) // 4096)
# A list of held locks that leads back to itself: the kernel walks it when a thread ends.
SET_ROBUST_LIST = 273 if os.uname().machine == "x86_64" else 99
ring = ctypes.create_string_buffer(64)
address = ctypes.addressof(ring)
ctypes.c_uint64.from_address(address).value = address + 32
ctypes.c_uint64.from_address(address + 32).value = address + 32
libc.syscall(SET_ROBUST_LIST, ctypes.c_void_p(address), ctypes.c_size_t(24))
children = 1
for number in range(48):
    try:
        pid = os.fork()
    except OSError:
        break
    if pid:
        children += 1
        continue
    libc.syscall(SET_ROBUST_LIST, ctypes.c_void_p(address), ctypes.c_size_t(24))
    os.setsid()
    if number % 4 == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
    if number % 4 == 1:
        memory[::4096] = b"y" * (len(memory) // 4096)
        time.sleep(60)
    while True:
        if number % 4 == 2:
            try:
                os.fork() or os._exit(0)
            except OSError:
                pass
saw("armed", children)
while True:
    pass
