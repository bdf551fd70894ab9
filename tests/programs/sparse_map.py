"""Maps a huge region without touching it."""
import mmap
from verdicts import attempt

attempt("map_64_gib", lambda: len(mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)))
print("SAW finished cleanly")
