"""Reads everything that /proc tells about the process named in the argument."""
import os
import sys
from verdicts import attempt

target = sys.argv[1]
for name in ("mem", "maps", "environ", "cmdline", "auxv", "status", "stack", "syscall", "io", "smaps", "pagemap", "limits", "mountinfo", "cgroup", "stat",
             "wchan", "timers", "personality", "fdinfo", "fd", "ns", "task", "cwd/", "root/", "map_files", "net/unix"):
    path = f"/proc/{target}/{name}"

    def look():
        if os.path.isdir(path):
            return os.listdir(path)[:1]
        descriptor = os.open(path, os.O_RDONLY)
        if name == "mem":
            raise PermissionError(1, "it opens, and that is all")
        return os.read(descriptor, 8)

    attempt(name, look)
for name in ("exe", "cwd", "root"):
    attempt("link " + name, lambda: os.readlink(f"/proc/{target}/{name}"))
