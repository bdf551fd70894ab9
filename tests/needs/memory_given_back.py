# needs: munmap
# What is given back can be taken again: otherwise the memory of the cell is soon used up.
import mmap
for _ in range(16):
    with mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE): pass
print("enough")
