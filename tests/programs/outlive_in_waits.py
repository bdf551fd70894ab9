"""Waits in the kernel in every way: for a lock, a FIFO's other end, a full pipe, the disk, a stopped vfork child."""
import fcntl
import mmap
import os
import signal
import socket
import threading
from verdicts import libc, saw


def lock():
    file = open("/workspace/lock", "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    fcntl.flock(open("/workspace/lock", "w"), fcntl.LOCK_EX)


def record_lock():
    file = open("/workspace/record", "w")
    fcntl.lockf(file, fcntl.LOCK_EX)
    signal.pause()


def fifo():
    os.open("/workspace/fifo", os.O_RDONLY)


def full_pipe():
    ends = os.pipe()
    while True:
        os.write(ends[1], bytes(65536))


def disk():
    file = os.open("/workspace/disk%d" % os.getpid(), os.O_RDWR | os.O_CREAT)
    while True:
        os.pwrite(file, bytes(65536), 0)
        os.fsync(file)
        os.sync() if hasattr(os, "sync") else None


def mapped():
    file = os.open("/workspace/mapped%d" % os.getpid(), os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, 4 << 20)
    memory = mmap.mmap(file, 4 << 20)
    while True:
        memory[::4096] = b"z" * 1024
        memory.flush()
        os.ftruncate(file, 0)
        os.ftruncate(file, 4 << 20)


def accept():
    socket.create_server(("127.0.0.1", 0)).accept()


def blocked():
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.valid_signals()))
    signal.sigwait({signal.SIGUSR1})


def child_never_executes():
    """What vfork does: the parent cannot go on before the child has ended or executed."""
    libc.vfork.restype = int
    number = 58 if os.uname().machine == "x86_64" else None
    if number is None:
        signal.pause()
    libc.syscall(number)
    while True:
        libc.pause()


def thread_without_leader():
    threading.Thread(target=signal.pause).start()
    libc.syscall(60 if os.uname().machine == "x86_64" else 93, 0)


os.mkfifo("/workspace/fifo")
WAITS = [lock, record_lock, fifo, full_pipe, disk, mapped, accept, blocked, child_never_executes, thread_without_leader]
started = 1
for wait in WAITS * 4:
    try:
        if os.fork() == 0:
            try:
                wait()
            finally:
                os._exit(0)
        started += 1
    except OSError:
        break
saw("armed", started)
lock()
