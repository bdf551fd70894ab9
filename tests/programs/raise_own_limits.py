"""Tries to raise its limits through cgroup files, rlimits and priorities, and to read the host's hardware."""
import os
import resource
from verdicts import attempt

attempt("list /sys/fs/cgroup", lambda: os.listdir("/sys/fs/cgroup"))
attempt("list /sys/class", lambda: os.listdir("/sys/class"))
attempt("read /sys/kernel/security", lambda: os.listdir("/sys/kernel"))
for path in ("memory/memory.limit_in_bytes", "memory.max", "pids.max", "pids/pids.max", "cgroup.procs"):
    attempt("write " + path, lambda: os.close(os.open("/sys/fs/cgroup/" + path, os.O_WRONLY)))
for name in ("RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_CORE"):
    what = getattr(resource, name)
    soft, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        attempt("raise " + name, lambda: resource.setrlimit(what, (hard + 1, hard + 1)))
attempt("nice -5", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)))
attempt("oom score", lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-500"))
attempt("other's priority", lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
