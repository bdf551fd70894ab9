# needs: ioctl/TCGETS2, ioctl/TCSETS2, ioctl/TCSETSW2, ioctl/TCSETSF2
# As pyserial does for unusual speeds, and tcgetattr and tcsetattr of glibc 2.42 and newer.
import fcntl, os, pty
master, slave = pty.openpty()
new = fcntl.ioctl(slave, 0x802C542A, bytes(44))
for command in (0x402C542B, 0x402C542C, 0x402C542D):
    fcntl.ioctl(slave, command, new)
print(len(new), any(new))
