"""Tries to change the directories and small files around the image: its root, /etc, /dev, /proc."""
import os
import sys
from verdicts import attempt


def write(path):
    with open(path, "a") as target:
        target.write("x")


attempt("mkdir /new", lambda: os.mkdir("/new"))
attempt("file in /etc", lambda: write("/etc/new"))
attempt("append /etc/passwd", lambda: write("/etc/passwd"))
attempt("append /etc/hosts", lambda: write("/etc/hosts"))
attempt("chmod /", lambda: os.chmod("/", 0o777))
attempt("chown /etc", lambda: os.chown("/etc", os.getuid(), os.getgid()))
attempt("unlink /dev/null", lambda: os.unlink("/dev/null"))
attempt("rename /dev/zero", lambda: os.rename("/dev/zero", "/dev/null"))
attempt("symlink in /dev", lambda: os.symlink("/proc/kcore", "/dev/core"))
attempt("file in /dev", lambda: write("/dev/new"))
attempt("rename /workspace", lambda: os.rename("/workspace", "/tmp/workspace"))
attempt("rmdir /tmp", lambda: os.rmdir("/tmp"))
attempt("symlink over /bin", lambda: os.replace("/etc/hosts", "/bin"))
attempt("file in /proc", lambda: write("/proc/new"))
attempt("times of /", lambda: os.utime("/", (1, 1)))
attempt("file in /home", lambda: write("/home/new"))
