"""Tries to take PID 1 its place among the runnable processes, by every call and file that could; then spins with as
many processes as it gets."""
import ctypes
import glob
import os
import platform
import signal
import struct
from verdicts import attempt, libc, raw, saw

x86 = platform.machine() == "x86_64"
SCHED_SETPARAM, SCHED_SETSCHEDULER = (142, 144) if x86 else (118, 119)
SCHED_SETAFFINITY, SCHED_SETATTR = (203, 314) if x86 else (122, 274)
SETPRIORITY, IOPRIO_SET, PRLIMIT = (141, 251, 302) if x86 else (140, 30, 261)
# The kernel looks at 32 bits of a process id, a filter perhaps at 64.
PID_1 = [("1", 1), ("1_and_high_bits", 1 | 1 << 32)]
OTHER, BATCH, IDLE = 0, 3, 5
param = ctypes.create_string_buffer(struct.pack("i", 0))
attribute = ctypes.create_string_buffer(struct.pack("IIQiIQQQII", 56, IDLE, 0, 19, 0, 0, 0, 0, 0, 0))
one_cpu = ctypes.create_string_buffer(struct.pack("Q", 1))
limit = ctypes.create_string_buffer(struct.pack("QQ", 0, 0))
PROCESS, GROUP, USER = 0, 1, 2
lowest_io = 3 << 13 | 7


def at(buffer):
    return ctypes.addressof(buffer)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


for name, pid in PID_1:
    attempt("idle_" + name, lambda: raw(SCHED_SETSCHEDULER, pid, IDLE, at(param)))
    attempt("batch_" + name, lambda: raw(SCHED_SETSCHEDULER, pid, BATCH, at(param)))
    attempt("parameters_" + name, lambda: raw(SCHED_SETPARAM, pid, at(param)))
    attempt("attributes_" + name, lambda: raw(SCHED_SETATTR, pid, at(attribute), 0))
    attempt("affinity_" + name, lambda: raw(SCHED_SETAFFINITY, pid, 8, at(one_cpu)))
    attempt("limits_" + name, lambda: raw(PRLIMIT, pid, 0, at(limit), 0))
    attempt("nice_process_" + name, lambda: raw(SETPRIORITY, PROCESS, pid, 19))
    attempt("nice_group_" + name, lambda: raw(SETPRIORITY, GROUP, pid, 19))
    attempt("io_process_" + name, lambda: raw(IOPRIO_SET, 1, pid, lowest_io))
    attempt("io_group_" + name, lambda: raw(IOPRIO_SET, 2, pid, lowest_io))
attempt("nice_own_group", lambda: raw(SETPRIORITY, GROUP, 0, 19))
attempt("nice_user", lambda: raw(SETPRIORITY, USER, os.getuid(), 19))
attempt("nice_caller_as_user", lambda: raw(SETPRIORITY, USER, 0, 19))
attempt("io_user", lambda: raw(IOPRIO_SET, 3, os.getuid(), lowest_io))
for who in ("1", "self"):
    attempt("autogroup_" + who, lambda: write("/proc/%s/autogroup" % who, "19"))
    attempt("timer_slack_" + who, lambda: write("/proc/%s/timerslack_ns" % who, "4000000000"))
attempt("oom_score_1", lambda: write("/proc/1/oom_score_adj", "1000"))
attempt("groups", lambda: write((glob.glob("/sys/fs/cgroup/**/cpu.*", recursive=True) or ["/sys/fs/cgroup/cpu.weight"])[0], "1"))
attempt("raise_self", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
for number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGSEGV, signal.SIGKILL, signal.SIGRTMAX):
    # A signal to PID 1 may be sent; it does nothing.
    try:
        os.kill(1, number)
    except OSError:
        pass
wait, go = os.pipe()
spinners = 1
try:
    while os.fork():
        spinners += 1
    # All begin together, when the last one is there.
    os.close(go)
    os.read(wait, 1)
    while True:
        pass
except OSError:
    pass
saw("armed", spinners)
os.close(go)
while True:
    pass
