"""Forks, executes or vforks without end: at the deadline something is always just coming into being."""
import os
import signal
import sys
from verdicts import libc, saw

marker, kind = sys.argv[1], sys.argv[2]
signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def fork_for_ever():
    """Every process starts another and ends."""
    while True:
        try:
            if os.fork():
                os._exit(0)
        except OSError:
            pass


def execute_for_ever():
    os.execv("/bin/sh", ["sh", "-c", "while :; do exec \"$0\" -c \"$1\" \"$0\" \"$1\" %s; done" % marker, "/bin/sh",
                         "exec \"$0\" -c \"$1\" \"$0\" \"$1\" " + marker, marker])


def vfork_for_ever():
    """The parent waits in the kernel until its child has executed or ended."""
    while True:
        try:
            os.posix_spawn("/bin/sh", ["sh", "-c", "read line </dev/zero; :", marker], {})
        except OSError:
            pass


work = {"fork": fork_for_ever, "exec": execute_for_ever, "vfork": vfork_for_ever}[kind]
started = 1
for _ in range(int(sys.argv[3])):
    try:
        if os.fork() == 0:
            work()
        started += 1
    except OSError:
        break
saw("armed", started)
while True:
    try:
        if os.fork() == 0:
            os._exit(0)
    except OSError:
        pass
