"""Leaves a marked file in every place it can write; with `look`, looks for such files instead."""
import os
import sys
from verdicts import saw

places = ("/workspace", "/tmp", "/dev/shm", "/var/tmp", "/run", "/dev", "/", "/home", "/var/lock")
if "outside" in sys.argv:
    places = ("/tmp", "/dev/shm")
if "look" in sys.argv:
    for place in places:
        try:
            for name in os.listdir(place):
                if name.startswith("brig-trace"):
                    print("REACHED trace", place)
        except OSError:
            pass
    saw("pids", len([name for name in os.listdir("/proc") if name.isdigit()]))
else:
    for place in places:
        try:
            open(f"{place}/brig-trace", "w").close()
            saw("left", place)
        except OSError:
            pass
