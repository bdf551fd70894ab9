"""Sends every signal that there is, in every way, to the process named in the argument; says that it is
still there, and with `stay` stays."""
import os
import signal
import sys
from verdicts import raw, saw

target = int(sys.argv[1])
sent = 0
for number in range(1, 65):
    for way in (lambda: os.kill(target, number), lambda: raw(234 if os.uname().machine == "x86_64" else 131, target, target, number),
                lambda: signal.pidfd_send_signal(os.pidfd_open(target), number)):
        try:
            way()
            sent += 1
        except (OSError, AttributeError):
            pass
saw("sent", sent)
saw("still", "here")
if "stay" in sys.argv:
    signal.pause()
