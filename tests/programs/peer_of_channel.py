"""Asks every socket that it was given who is at the other end, and tries to use the answer."""
import os
import signal
import socket
import struct
import sys
from verdicts import attempt, raw, saw

SO_PEERPIDFD, SO_PEERGROUPS = 77, 59


def peers():
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            yield number, socket.socket(fileno=os.dup(number))
        except OSError:
            continue


if "outside" in sys.argv:
    ours, theirs = socket.socketpair()
    os.dup2(theirs.fileno(), 250)
saw("looked", "at every descriptor")
for number, peer in peers():
    if peer.family != socket.AF_UNIX:
        continue
    try:
        pid, uid, gid = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        saw("peer", f"{'itself' if pid == os.getpid() else pid} {uid} {gid}")
    except OSError as error:
        pid = 0
        saw("peer", error.errno)

    def signal_peer():
        if pid == os.getpid() and "outside" not in sys.argv:
            raise ProcessLookupError(3, "that would be itself")
        pidfd = struct.unpack("i", peer.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4))[0]
        signal.pidfd_send_signal(pidfd, 0)

    attempt("signal by pidfd", signal_peer)
