# needs: read, write, close, openat, newfstatat, mmap, mprotect, execve, arch_prctl/ARCH_SET_FS, getdents64
print("hello")
