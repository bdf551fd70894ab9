"""Pushes input into terminals and takes them over: its own, its standard streams, the console."""
import fcntl
import os
import pty
import sys
import termios
from verdicts import attempt, saw

TIOCLINUX, TIOCCONS, TIOCSETD, KDSKBMODE, VT_ACTIVATE = 0x541C, 0x541D, 0x5423, 0x4B45, 0x5606
control, terminal = pty.openpty()
attempt("push input", lambda: fcntl.ioctl(terminal, termios.TIOCSTI, b"x"))
if "outside" in sys.argv:
    sys.exit()
attempt("console", lambda: fcntl.ioctl(terminal, TIOCCONS, 0))
attempt("line discipline", lambda: fcntl.ioctl(terminal, TIOCSETD, (1).to_bytes(4, "little")))
attempt("selection", lambda: fcntl.ioctl(terminal, TIOCLINUX, b"\x02" + bytes(15)))
for number in (0, 1, 2):
    attempt(f"push into {number}", lambda: fcntl.ioctl(number, termios.TIOCSTI, b"x"))
    attempt(f"take over {number}", lambda: fcntl.ioctl(number, termios.TIOCSCTTY, 1))
for name in ("/dev/tty", "/dev/console", "/dev/tty0", "/dev/tty1", "/dev/vcs", "/dev/pts/1", "/dev/pts/2"):
    attempt("open " + name, lambda: os.close(os.open(name, os.O_RDWR)))
saw("pts", " ".join(sorted(os.listdir("/dev/pts"))))
