"""Several processes open terminals until they are refused (200 each at most), all held at the same time."""
import os
from verdicts import saw, word

PROCESSES = 8
MOST = 200

counts, report = os.pipe()
wait, go = os.pipe()
for _ in range(PROCESSES):
    if os.fork() == 0:
        os.close(go)
        taken, why = 0, "none"
        try:
            while taken < MOST:
                os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
                taken += 1
        except OSError as error:
            why = word(error)
        os.write(report, f"{taken} {why}\n".encode())
        # Until everybody has counted.
        os.read(wait, 1)
        os._exit(0)
lines = b""
while lines.count(b"\n") < PROCESSES:
    lines += os.read(counts, 4096)
saw("terminals", sum(int(line.split()[0]) for line in lines.splitlines()))
os.close(go)
