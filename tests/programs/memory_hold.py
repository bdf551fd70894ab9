"""Touches the number of MiB in its first argument and holds them for the seconds in its second."""
import sys
import time

block = bytearray(int(sys.argv[1]) << 20)
for offset in range(0, len(block), 4096):
    block[offset] = 1
time.sleep(float(sys.argv[2]))
print("REACHED memory", len(block) >> 20, flush=True)
