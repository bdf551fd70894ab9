"""Hands a descriptor to whoever holds the other end of what this program was started with.

Who receives it has to close it, and the close of a TCP socket with SO_LINGER lasts as long as this program chose: so a
service that holds such an end stands still. With the argument `demonstrate` it does that to itself.
"""
import array
import os
import socket
import struct
import sys
import time
from verdicts import attempt, saw

LINGER = 2


def trap():
    """A socket whose close waits, and the end that keeps it waiting."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    peer, _ = server.accept()
    client.setblocking(False)
    try:
        while True:
            client.send(bytes(65536))
    except BlockingIOError:
        pass
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER))
    return client, peer


def hand_over(descriptor):
    client, peer = trap()
    rights = array.array("i", [client.fileno()])
    try:
        with socket.socket(socket.AF_UNIX, fileno=os.dup(descriptor)) as other:
            other.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_DONTWAIT)
    except OSError:
        peer.close()
        client.close()
        raise
    client.close()
    kept.append(peer)


kept = []
if "demonstrate" in sys.argv:
    here, there = socket.socketpair()
    attempt("hand_over", lambda: hand_over(there.fileno()))
    begun = time.monotonic()
    here.recv(1)
    saw("received_in", time.monotonic() - begun)
else:
    mine = [int(name) for name in os.listdir("/proc/self/fd")]
    for descriptor in sorted(mine):
        if os.path.exists(f"/proc/self/fd/{descriptor}"):
            attempt("hand_over", lambda: hand_over(descriptor))
