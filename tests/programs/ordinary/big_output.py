import sys

for number in range(12000):
    print(number, "a line of ordinary output that is long enough to fill buffers")
sys.stderr.write("e" * 100_000 + "\n")
