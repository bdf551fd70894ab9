# needs: fcntl/F_DUPFD_CLOEXEC, fcntl/F_GETFD, fcntl/F_GETFL, fcntl/F_SETFL, dup2, dup3, pipe2
# needs: ioctl/FIOCLEX, ioctl/FIONCLEX, fcntl/F_SETPIPE_SZ, fcntl/F_GETPIPE_SZ, fcntl/F_DUPFD, fcntl/F_SETFD
import fcntl, os
r, w = os.pipe()
print(os.get_inheritable(r), os.get_blocking(r))
os.set_inheritable(r, True)
os.set_inheritable(r, False)
fcntl.fcntl(r, fcntl.F_SETFL, os.O_NONBLOCK)
fcntl.fcntl(r, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
os.dup2(w, 20)
os.dup2(w, 21, inheritable=False)
os.close(os.dup(w))
print(fcntl.fcntl(w, fcntl.F_DUPFD, 30))
print(fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096), fcntl.fcntl(w, fcntl.F_GETPIPE_SZ), os.get_blocking(r))
