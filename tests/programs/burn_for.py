"""Eight processes spin for the seconds in the argument; prints the CPU seconds that they got in all."""
import os
import resource
import sys
import time

seconds = float(sys.argv[1])
began = time.monotonic()
children = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        while time.monotonic() - began < seconds:
            pass
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
wall = time.monotonic() - began
print("SAW cpus", round((used.ru_utime + used.ru_stime) / wall, 2))
