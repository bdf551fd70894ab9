# needs: ioctl/FIONBIO, ioctl/FIONREAD
import fcntl, socket, struct, termios
a, b = socket.socketpair()
a.setblocking(False)
b.send(b"four")
print(struct.unpack("i", fcntl.ioctl(a, termios.FIONREAD, b"\0" * 4)), a.recv(9))
