# needs: setsockopt/SOL_SOCKET+SO_REUSEADDR, setsockopt/SOL_SOCKET+SO_BROADCAST, setsockopt/SOL_SOCKET+SO_SNDBUF
# needs: setsockopt/SOL_SOCKET+SO_RCVBUF, setsockopt/SOL_SOCKET+SO_KEEPALIVE, setsockopt/SOL_SOCKET+SO_LINGER
# needs: setsockopt/SOL_SOCKET+SO_REUSEPORT, setsockopt/SOL_SOCKET+SO_PASSCRED, setsockopt/SOL_SOCKET+SO_RCVLOWAT
# needs: setsockopt/SOL_SOCKET+SO_RCVTIMEO, setsockopt/SOL_SOCKET+SO_SNDTIMEO, setsockopt/SOL_SOCKET+SO_TIMESTAMP
# needs: setsockopt/IPPROTO_IP+IP_TOS, setsockopt/IPPROTO_IP+IP_TTL, setsockopt/IPPROTO_IP+IP_PKTINFO
# needs: setsockopt/IPPROTO_IP+IP_MTU_DISCOVER, setsockopt/IPPROTO_IP+IP_RECVERR, setsockopt/IPPROTO_IP+IP_RECVTTL
# needs: setsockopt/IPPROTO_IP+IP_RECVTOS, setsockopt/IPPROTO_IP+IP_BIND_ADDRESS_NO_PORT
# needs: setsockopt/IPPROTO_TCP+TCP_NODELAY, setsockopt/IPPROTO_TCP+TCP_MAXSEG, setsockopt/IPPROTO_TCP+TCP_CORK
# needs: setsockopt/IPPROTO_TCP+TCP_KEEPIDLE, setsockopt/IPPROTO_TCP+TCP_KEEPINTVL, setsockopt/IPPROTO_TCP+TCP_KEEPCNT
# needs: setsockopt/IPPROTO_TCP+TCP_DEFER_ACCEPT, setsockopt/IPPROTO_TCP+TCP_QUICKACK
# needs: setsockopt/IPPROTO_TCP+TCP_CONGESTION, setsockopt/IPPROTO_TCP+TCP_USER_TIMEOUT
# needs: setsockopt/IPPROTO_TCP+TCP_FASTOPEN, setsockopt/IPPROTO_TCP+TCP_NOTSENT_LOWAT
# needs: setsockopt/IPPROTO_IPV6+IPV6_UNICAST_HOPS, setsockopt/IPPROTO_IPV6+IPV6_RECVERR
# needs: setsockopt/IPPROTO_IPV6+IPV6_V6ONLY, setsockopt/IPPROTO_IPV6+IPV6_RECVPKTINFO
# needs: setsockopt/IPPROTO_IPV6+IPV6_RECVHOPLIMIT, setsockopt/IPPROTO_IPV6+IPV6_RECVTCLASS
# needs: setsockopt/IPPROTO_IPV6+IPV6_TCLASS
import socket, struct
tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
tcp6, local = socket.socket(socket.AF_INET6), socket.socket(socket.AF_UNIX)
time = struct.pack("ll", 1, 0)
for option in ("REUSEADDR", "SNDBUF", "RCVBUF", "KEEPALIVE", "REUSEPORT", "RCVLOWAT"):
    tcp.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_" + option), 1)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, time)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, time)
local.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
udp.setsockopt(socket.SOL_SOCKET, 29, 1)  # SO_TIMESTAMP
for option, value in ((1, 8), (2, 9), (8, 1), (10, 0), (11, 1), (12, 1), (13, 1), (24, 1)):
    udp.setsockopt(socket.IPPROTO_IP, option, value)
for option, value in (("NODELAY", 1), ("MAXSEG", 500), ("CORK", 0), ("KEEPIDLE", 5), ("KEEPINTVL", 5), ("KEEPCNT", 5),
                      ("DEFER_ACCEPT", 1), ("QUICKACK", 1), ("USER_TIMEOUT", 1000), ("NOTSENT_LOWAT", 1000)):
    tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_" + option), value)
congestion = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.rstrip(b"\0"))
tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
for option in (16, 25, 26, 49, 51, 66, 67):
    tcp6.setsockopt(socket.IPPROTO_IPV6, option, 1)
print("set")
