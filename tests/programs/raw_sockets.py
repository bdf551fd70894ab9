"""Opens sockets that see or forge traffic, and families that nobody needs."""
import socket
from verdicts import attempt

attempt("raw icmp", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("raw tcp", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP))
attempt("raw ipv6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58))
attempt("packet", lambda: socket.socket(17, socket.SOCK_RAW, 0x0300))
attempt("packet datagram", lambda: socket.socket(17, socket.SOCK_DGRAM, 0x0300))
attempt("netlink audit", lambda: socket.socket(16, socket.SOCK_RAW, 9))
attempt("netlink netfilter", lambda: socket.socket(16, socket.SOCK_RAW, 12))
attempt("netlink kobject", lambda: socket.socket(16, socket.SOCK_RAW, 15))
attempt("vsock", lambda: socket.socket(40, socket.SOCK_STREAM, 0))
attempt("alg", lambda: socket.socket(38, socket.SOCK_SEQPACKET, 0))
