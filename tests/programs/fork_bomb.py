"""Forks without bound, children too, and swallows every error. An argument stops it at so many children."""
import os
import signal
import sys
import time
from verdicts import saw, word

stop_at = int(sys.argv[1]) if len(sys.argv) > 1 else None
me = os.getpid()
end = time.monotonic() + 2.0
children, refusals, started = 0, 0, []
while time.monotonic() < end and children != stop_at:
    try:
        pid = os.fork()
        if pid == 0:
            if stop_at is not None:
                time.sleep(10)
                os._exit(0)
            # A child never stops by itself.
            children, end = 0, float("inf")
            continue
        children += 1
        started.append(pid)
    except OSError as error:
        if os.getpid() == me and refusals == 0:
            print("REFUSED fork", word(error), "Resource temporarily unavailable", file=sys.stderr, flush=True)
            print("REFUSED fork", word(error), flush=True)
        refusals += 1
        time.sleep(0.001)
if os.getpid() != me:
    os._exit(0)
saw("children", children)
if stop_at is not None:
    for pid in started:
        os.kill(pid, signal.SIGKILL)
if refusals == 0:
    print("REACHED fork", children, flush=True)
