"""Tries to write to the files that other processes execute: PID 1's, the interpreter's, its own; also by the detour of an
O_PATH descriptor that another program opens again (CVE-2019-5736)."""
import os
import subprocess
import sys
from verdicts import attempt


def open_to_write(path):
    os.close(os.open(path, os.O_WRONLY))


def reopened(path):
    """Nobody runs the file when the shell opens it again."""
    descriptor = os.open(path, os.O_PATH)
    done = subprocess.run(["sh", "-c", f"exec 7<>/proc/self/fd/{descriptor}"], pass_fds=[descriptor], capture_output=True)
    if done.returncode:
        raise PermissionError(1, done.stderr)


interpreter = os.path.realpath(sys.executable)
with open("/proc/self/maps") as maps:
    libc = next(line.split()[-1] for line in maps if "libc.so" in line or "libc-" in line)
attempt("libc", lambda: open_to_write(libc))
if "outside" in sys.argv:
    sys.exit()
attempt("init", lambda: open_to_write("/proc/1/exe"))
attempt("init by path", lambda: reopened("/proc/1/exe"))
attempt("parent", lambda: open_to_write(f"/proc/{os.getppid()}/exe"))
attempt("interpreter by path", lambda: reopened(interpreter))
attempt("shell", lambda: open_to_write("/bin/sh"))
attempt("replace interpreter", lambda: os.rename("verdicts.py", interpreter))
attempt("link over interpreter", lambda: os.link(interpreter, "/tmp/linked-interpreter"))
attempt("truncate interpreter", lambda: os.truncate(interpreter, os.path.getsize(interpreter)))
attempt("times of interpreter", lambda: os.utime(interpreter, (1, 1)))
