"""Its environment, one line each; and whether the canary in its argument is anywhere that it can read."""
import glob
import os
import sys
from verdicts import saw

for name, value in sorted(os.environ.items()):
    saw("env", f"{name}={value}")
canary = sys.argv[1].encode()[::-1]
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        if canary in open(path, "rb").read():
            print("REACHED canary", path)
    except OSError:
        pass
if canary in repr(os.environ).encode():
    print("REACHED canary os.environ")
