# needs: socket/AF_UNIX+SOCK_STREAM, socket/AF_UNIX+SOCK_DGRAM, socket/AF_UNIX+SOCK_SEQPACKET
# needs: socket/AF_INET+SOCK_STREAM+the default protocol, socket/AF_INET+SOCK_DGRAM+the default protocol
# needs: socket/AF_INET6+SOCK_STREAM+the default protocol, socket/AF_INET6+SOCK_DGRAM+the default protocol
# needs: bind, listen, accept4, connect, shutdown, getsockname, getpeername, sendto, recvfrom
import socket
from socket import AF_INET, AF_INET6, AF_UNIX, SHUT_WR, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
for family, name in ((AF_UNIX, "u"), (AF_INET, ("127.0.0.1", 0)), (AF_INET6, ("::1", 0))):
    for kind in (SOCK_STREAM, SOCK_SEQPACKET):
        if kind == SOCK_SEQPACKET and family != AF_UNIX: continue
        server = socket.socket(family, kind)
        server.bind(name if name != "u" else f"u{kind}")
        server.listen()
        client = socket.socket(family, kind)
        client.connect(server.getsockname())
        there, _ = server.accept()
        client.sendall(b"hello")
        client.shutdown(SHUT_WR)
        client.getpeername()
        print(family.name, kind.name, there.recv(9), there.recv(9))
    one, two = socket.socket(family, SOCK_DGRAM), socket.socket(family, SOCK_DGRAM)
    one.bind(name if name != "u" else "ud")
    two.sendto(b"there", one.getsockname())
    print(family.name, "SOCK_DGRAM", one.recvfrom(9)[0])
