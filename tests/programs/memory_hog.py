"""Allocates and touches memory until it has the number of MiB in its argument; says so on the way."""
import sys

blocks = []
print("SAW partial output", flush=True)
for count in range(int(sys.argv[1]) // 8):
    block = bytearray(8 << 20)
    for offset in range(0, len(block), 4096):
        block[offset] = 1
    blocks.append(block)
print("REACHED memory", len(blocks) * 8, flush=True)
