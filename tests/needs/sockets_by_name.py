# needs: socket/AF_INET+SOCK_STREAM+IPPROTO_TCP, socket/AF_INET+SOCK_DGRAM+IPPROTO_UDP
# needs: socket/AF_INET6+SOCK_STREAM+IPPROTO_TCP, socket/AF_INET6+SOCK_DGRAM+IPPROTO_UDP
import socket
for host in ("127.0.0.1", "::1"):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for family, kind, protocol, _, address in socket.getaddrinfo(host, 0, type=kind):
            with socket.socket(family, kind, protocol) as one:
                one.bind(address)
                print(family.name, kind.name, protocol)
