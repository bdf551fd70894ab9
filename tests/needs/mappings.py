# needs: msync, mremap, madvise, memfd_create, fcntl/F_ADD_SEALS, fcntl/F_GET_SEALS
import fcntl, mmap, os
f = os.memfd_create("m", os.MFD_ALLOW_SEALING)
os.ftruncate(f, 8192)
m = mmap.mmap(f, 8192)
m[0] = 7
m.flush()
m.madvise(mmap.MADV_WILLNEED)
m.resize(16384)
print(len(m), m[0])
m.close()
fcntl.fcntl(f, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
print(fcntl.fcntl(f, fcntl.F_GET_SEALS))
