"""Leaves dead children unreaped by the dozen, orphans of orphans, and processes whose first thread has ended."""
import os
import signal
import threading
import time
from verdicts import libc, saw

EXIT_THREAD = 60 if os.uname().machine == "x86_64" else 93


def headless():
    def live():
        while True:
            time.sleep(1)
    threading.Thread(target=live).start()
    libc.syscall(EXIT_THREAD, 0)


count = 1
for number in range(40):
    try:
        pid = os.fork()
    except OSError:
        break
    if pid == 0:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
        if number % 4 == 0:
            headless()
        if number % 4 == 1 and os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(60)
        os._exit(0)
    count += 1
saw("armed", count)
while True:
    # New ones take the place of those that PID 1 reaps.
    try:
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(0.01)
            os._exit(0)
    except OSError:
        pass
    time.sleep(0.001)
