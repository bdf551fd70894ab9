# needs: fcntl/F_GETLK, fcntl/F_SETLK, fcntl/F_SETLKW, fcntl/F_OFD_GETLK, fcntl/F_OFD_SETLK, fcntl/F_OFD_SETLKW
import fcntl, struct
f = open("a", "w+")
fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.lockf(f, fcntl.LOCK_EX)
fcntl.lockf(f, fcntl.LOCK_UN)
def lock(kind): return struct.pack("hhqqi4x", kind, 0, 0, 0, 0)
for command in (fcntl.F_GETLK, fcntl.F_OFD_GETLK, fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW):
    print(struct.unpack("hhqqi4x", fcntl.fcntl(f, command, lock(fcntl.F_WRLCK)))[0])
