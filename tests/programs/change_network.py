"""Changes its network by netlink and by the old calls: addresses, routes, links; and opens every protocol of netlink."""
import fcntl
import socket
import struct
from verdicts import attempt

RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE, RTM_NEWRULE, RTM_NEWQDISC = 16, 20, 24, 32, 36
REQUEST_AND_ACK, CREATE = 0x5, 0x400


def ask(kind, body):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(struct.pack("=IHHII", 16 + len(body), kind, REQUEST_AND_ACK | CREATE, 1, 0) + body)
        answer = route.recv(4096)
        code = -struct.unpack("=i", answer[16:20])[0]
        if code:
            raise OSError(code, "netlink")


attempt("address", lambda: ask(RTM_NEWADDR, struct.pack("=BBBBI", 2, 24, 0, 0, 1) + struct.pack("=HH4s", 8, 2, bytes([10, 9, 8, 7]))))
attempt("link up", lambda: ask(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, 1, 1, 1)))
attempt("new link", lambda: ask(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + struct.pack("=HH8s", 12, 3, b"dummy7\0\0") +
                                struct.pack("=HHHH8s", 16, 18, 12, 1, b"dummy\0\0\0")))
attempt("route", lambda: ask(RTM_NEWROUTE, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 253, 1, 0) + struct.pack("=HHI", 8, 4, 1)))
attempt("old address", lambda: fcntl.ioctl(socket.socket(), 0x8916, b"lo\0".ljust(16, b"\0") + struct.pack("=HH4s8x", 2, 0, bytes([127, 0, 0, 9]))))
attempt("old flags", lambda: fcntl.ioctl(socket.socket(), 0x8914, b"lo\0".ljust(16, b"\0") + struct.pack("=H22x", 0x49)))
for protocol in range(1, 23):
    attempt(f"netlink {protocol}", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol).close())
for name, option, value in (("filter", 26, struct.pack("HxxxxxxP", 1, 0)), ("priority", 12, 7), ("mark", 36, 1),
                            ("debug", 1, 1), ("force buffer", 33, 1 << 30)):
    attempt("option " + name, lambda: socket.socket().setsockopt(socket.SOL_SOCKET, option, value))
