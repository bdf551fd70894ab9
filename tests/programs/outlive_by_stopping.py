"""Stops all of its processes, itself last, or has them stop and continue each other without end."""
import os
import signal
import sys
from verdicts import saw

children = []
try:
    while True:
        pid = os.fork()
        if pid == 0:
            while True:
                signal.pause()
        children.append(pid)
except OSError:
    pass
for pid in children:
    os.kill(pid, signal.SIGSTOP)
saw("armed", len(children) + 1)
if sys.argv[2] == "all":
    os.kill(os.getpid(), signal.SIGSTOP)
while True:
    for pid in children:
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGSTOP)
