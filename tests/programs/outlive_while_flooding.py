"""Fills stdout and stderr from several processes at once, as fast as it can; more waits in every pipe."""
import os
import sys
import time
from verdicts import saw

wait = float(sys.argv[2])
saw("armed", 9)
time.sleep(wait)
for number in range(8):
    if os.fork() == 0:
        break
block = b"x" * 65536
while True:
    os.write(1 + number % 2, block)
