"""Makes as many refused calls as the argument says, then one ordinary one."""
import sys
import time
from verdicts import NUMBERS, libc, saw

count, number = int(sys.argv[1]), NUMBERS["swapon"]
began = time.monotonic()
for _ in range(count):
    libc.syscall(number, None, 0)
saw("seconds", round(time.monotonic() - began, 3))
saw("still", "here")
