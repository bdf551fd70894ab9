"""A chain of processes as deep as it gets, each in a session of its own, each ignoring what can be ignored."""
import os
import signal
from verdicts import saw

depth = 1
while True:
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    try:
        pid = os.fork()
    except OSError:
        break
    if pid:
        while True:
            signal.pause()
    depth += 1
    os.setsid()
saw("armed", depth)
while True:
    pass
