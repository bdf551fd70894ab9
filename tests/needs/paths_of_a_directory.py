# needs: linkat, symlinkat, unlinkat, mkdirat, renameat, readlinkat, fchmodat, fchownat, utimensat, faccessat2, fchdir
import os
os.mkdir("d")
d = os.open("d", os.O_RDONLY)
with open("d/a", "w") as file:
    file.write("x")
os.mkdir("sub", dir_fd=d)
os.link("a", "b", src_dir_fd=d, dst_dir_fd=d)
os.symlink("a", "c", dir_fd=d)
os.rename("b", "e", src_dir_fd=d, dst_dir_fd=d)
os.chmod("a", 0o600, dir_fd=d)
os.chown("a", os.getuid(), os.getgid(), dir_fd=d)
os.utime("a", (1, 2), dir_fd=d)
print(os.access("a", os.R_OK, dir_fd=d), os.readlink("c", dir_fd=d), os.stat("d/a").st_mtime)
os.unlink("e", dir_fd=d)
os.fchdir(d)
print(sorted(os.listdir(".")))
