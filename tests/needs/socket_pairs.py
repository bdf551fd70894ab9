# needs: socketpair/AF_UNIX+SOCK_STREAM, socketpair/AF_UNIX+SOCK_DGRAM, socketpair/AF_UNIX+SOCK_SEQPACKET
# needs: sendmsg, recvmsg, getsockopt
import os, socket
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    socket.send_fds(one, [b"x"], [1])
    data, descriptors, _, _ = socket.recv_fds(two, 9, 1)
    print(data, len(descriptors), one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE))
