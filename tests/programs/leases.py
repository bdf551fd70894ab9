"""Leases, notifications and attributes of files: ways to hold others up, or to give a file power."""
import fcntl
import os
import struct
from verdicts import attempt

with open("file", "w") as target:
    target.write("x")
file = os.open("file", os.O_RDONLY)
attempt("lease", lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK))
attempt("notify", lambda: fcntl.fcntl(os.open(".", os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_CREATE))
attempt("immutable", lambda: fcntl.ioctl(file, 0x40086602, struct.pack("l", 0x10)))
attempt("file capability", lambda: os.setxattr("file", "security.capability", struct.pack("<5I", 0x02000001, 1 << 21, 0, 0, 0)))
attempt("trusted attribute", lambda: os.setxattr("file", "trusted.x", b"y"))
attempt("user attribute", lambda: os.setxattr("file", "user.x", b"y"))
attempt("image attribute", lambda: os.setxattr("/usr/bin/env", "user.x", b"y"))
