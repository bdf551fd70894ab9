# needs: madvise
import mmap
m = mmap.mmap(-1, 1 << 20)
m.madvise(mmap.MADV_DONTNEED)
print(len(m))
