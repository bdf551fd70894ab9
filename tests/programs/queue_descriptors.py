"""Queues as many descriptors in unix sockets as it may, and holds them for five seconds.

The kernel counts those of all processes of a user together, and refuses to send more.
"""
import array
import socket
import time
from verdicts import saw, word

held, queued, why = [], 0, "none"
try:
    while queued < 20_000:
        held.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        rights = array.array("i", [0] * 253)
        for _ in range(8):
            held[-1][0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], socket.MSG_DONTWAIT)
            queued += 253
except OSError as error:
    why = word(error)
saw("queued", queued)
saw("stopped_by", why)
time.sleep(5)
