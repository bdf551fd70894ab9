"""Every process that it can see or name: through /proc, by asking for its session and priority, by a handle; the argument is
a marker in the command line of a process that is none of its business, and that process's number."""
import os
import sys
from verdicts import attempt, saw

marker, other = sys.argv[1].encode(), int(sys.argv[2])
pids = [name for name in os.listdir("/proc") if name.isdigit()]
saw("pids", len(pids))


def look():
    for pid in pids:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            if pid != str(os.getpid()) and marker in line.read():
                return pid
    raise FileNotFoundError(2, "no process with the marker")


attempt("marker", look)
attempt("session", lambda: os.getsid(other))
attempt("group", lambda: os.getpgid(other))
attempt("priority", lambda: os.getpriority(os.PRIO_PROCESS, other))
attempt("affinity", lambda: os.sched_getaffinity(other))
attempt("scheduler", lambda: os.sched_getscheduler(other))
attempt("handle", lambda: os.pidfd_open(other))
attempt("exists", lambda: os.kill(other, 0))
attempt("proc", lambda: os.listdir(f"/proc/{other}"))
