# needs: ioctl/TIOCSCTTY, ioctl/TIOCGPGRP, ioctl/TIOCSPGRP, setsid, setpgid
import os, pty
child, terminal = pty.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild == 0:
        os.setpgid(0, 0)
        os._exit(0)
    before = os.tcgetpgrp(0)
    os.waitpid(grandchild, 0)
    os.tcsetpgrp(0, os.getpgrp())
    print(before == os.getpgrp(), os.getsid(0) == os.getpid(), flush=True)
    os._exit(0)
print(os.read(terminal, 100), os.waitpid(child, 0)[1])
