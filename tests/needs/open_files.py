# needs: lseek, fchmod, fchown, ftruncate, truncate, fallocate, fsync, fdatasync, flock, sendfile, fstatfs, statfs
# needs: pread64, pwrite64, readv, writev, preadv, pwritev
import fcntl, os, shutil
f = os.open("a", os.O_RDWR | os.O_CREAT)
os.fchmod(f, 0o600)
os.fchown(f, os.getuid(), os.getgid())
os.ftruncate(f, 10)
os.truncate("a", 5)
os.posix_fallocate(f, 0, 100)
os.fsync(f)
os.fdatasync(f)
fcntl.flock(f, fcntl.LOCK_EX)
print(os.pwrite(f, b"hello", 0), os.pread(f, 5, 0), os.writev(f, [b"ab", b"cd"]), os.pwritev(f, [b"x", b"y"], 1))
os.lseek(f, 0, 0)
one, two = bytearray(2), bytearray(2)
print(os.readv(f, [one, two]), one, two, os.preadv(f, [one, two], 1), one, two)
g = os.open("b", os.O_RDWR | os.O_CREAT)
print(os.sendfile(g, f, 0, 4), os.fstatvfs(f).f_namemax, shutil.disk_usage(".").total > 0)
