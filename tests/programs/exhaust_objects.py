"""Takes objects of the kernel without end (20,000 of each at most): polls, events, memory files, processes' handles,
descriptors in flight."""
import array
import os
import select
import socket
from verdicts import saw, word


def exhaust(name, take, give_back=os.close):
    taken = []
    try:
        while len(taken) < 20_000:
            taken.append(take())
        print("REACHED", name, len(taken), flush=True)
    except (OSError, MemoryError) as error:
        print("REFUSED", name, word(error), flush=True)
    saw(f"{name}_count", len(taken))
    for one in taken:
        give_back(one)


exhaust("epoll", select.epoll, lambda poll: poll.close())
exhaust("eventfd", lambda: os.eventfd(0))
exhaust("memfd", lambda: os.memfd_create("one"))
exhaust("pidfd", lambda: os.pidfd_open(os.getpid()))
exhaust("directories", lambda: os.open("/", os.O_RDONLY))

ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
ours.setblocking(False)
pairs = [(ours, theirs)]
file = os.open("/dev/null", os.O_RDONLY)


def in_flight():
    """One hundred copies of a descriptor in a message that nobody reads; a new pair where one is full."""
    message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file] * 100))]
    for _ in range(2):
        try:
            return pairs[-1][0].sendmsg([b"x"], message)
        except BlockingIOError:
            pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
            pairs[-1][0].setblocking(False)


exhaust("messages with descriptors", in_flight, lambda _: None)
print("SAW finished cleanly")
