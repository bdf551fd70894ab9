"""Holds every descriptor that it gets, of every kind, in several processes, with full pipes and sockets."""
import fcntl
import os
import select
import socket
from verdicts import libc, saw

held = []


def pipe():
    ends = os.pipe()
    held.append(ends)
    fcntl.fcntl(ends[1], 1031, 1 << 20)


def full_pipe():
    ends = os.pipe()
    os.set_blocking(ends[1], False)
    held.append(ends)
    while os.write(ends[1], bytes(65536)):
        pass


def full_pair():
    pair = socket.socketpair()
    pair[1].setblocking(False)
    held.append(pair)
    # A descriptor inside a socket inside itself: the kernel has to collect the circle.
    socket.send_fds(pair[1], [b"x"], [pair[0].fileno(), pair[1].fileno()])
    while pair[1].send(bytes(65536)):
        pass


def inotify():
    descriptor = libc.inotify_init1(0)
    if descriptor < 0:
        raise OSError("inotify")
    held.append(descriptor)
    libc.inotify_add_watch(descriptor, b"/workspace", 0xFFF)


def tcp():
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    held.append(listener)
    for _ in range(8):
        held.append(socket.create_connection(listener.getsockname()))


KINDS = [pipe, full_pipe, full_pair, inotify, tcp,
         lambda: held.append(os.eventfd(0)),
         lambda: held.append(select.epoll()),
         lambda: held.append(os.memfd_create("held")),
         lambda: held.append(open("/workspace/file%d" % len(held), "w")),
         lambda: held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)),
         lambda: held.append(os.open("/proc/self/stat", os.O_RDONLY))]


def hold():
    for kind in KINDS:
        for _ in range(200):
            try:
                kind()
            except BlockingIOError:
                pass
            except (OSError, AttributeError):
                break
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass


for _ in range(3):
    if os.fork() == 0:
        hold()
        while True:
            select.select([], [], [], 1)
hold()
saw("armed", len(held))
while True:
    select.select([], [], [], 1)
