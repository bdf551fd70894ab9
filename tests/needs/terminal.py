# needs: ioctl/TCGETS, ioctl/TCSETS, ioctl/TCSETSW, ioctl/TCSETSF, ioctl/TCSBRK, ioctl/TCXONC, ioctl/TCFLSH
# needs: ioctl/TIOCGWINSZ, ioctl/TIOCSWINSZ, ioctl/TIOCGPTN, ioctl/TIOCSPTLCK
import os, pty, sys, termios
master, slave = pty.openpty()
attributes = termios.tcgetattr(slave)
for when in (termios.TCSANOW, termios.TCSADRAIN, termios.TCSAFLUSH):
    termios.tcsetattr(slave, when, attributes)
termios.tcdrain(slave)
termios.tcsendbreak(slave, 0)
termios.tcflow(slave, termios.TCOON)
termios.tcflush(slave, termios.TCIOFLUSH)
termios.tcsetwinsize(slave, (11, 22))
print(os.get_terminal_size(slave), os.isatty(slave), os.ttyname(slave))
