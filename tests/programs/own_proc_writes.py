"""Writes to those files of its own /proc entry that would give it power."""
import os
from verdicts import attempt, saw


def write(path, text):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


for name, text in (("uid_map", "0 0 4294967295"), ("gid_map", "0 0 4294967295"), ("projid_map", "0 0 4294967295"),
                   ("setgroups", "allow"), ("oom_score_adj", "-1"), ("oom_adj", "-17"), ("loginuid", "0"), ("timens_offsets", "monotonic 1000 0"),
                   ("attr/exec", "unconfined"), ("sched", "0"), ("fail-nth", "1"), ("make-it-fail", "1")):
    attempt(name, lambda: write(f"/proc/self/{name}", text))
# Raised and lowered again: the floor is where it began.
try:
    write("/proc/self/oom_score_adj", "700")
    saw("raised", open("/proc/self/oom_score_adj").read().strip())
except OSError as error:
    saw("raised", error.errno)
attempt("lowered below the start", lambda: write("/proc/self/oom_score_adj", "-1"))
for path, text in (("/proc/sys/kernel/core_pattern", "|/bin/sh"), ("/proc/sys/kernel/ns_last_pid", "1"), ("/proc/sys/fs/file-max", "1"),
                   ("/proc/sys/net/core/somaxconn", "1"), ("/proc/sys/vm/drop_caches", "1"), ("/proc/sys/user/max_net_namespaces", "9")):
    attempt("sysctl " + path.rsplit("/", 1)[1], lambda: os.close(os.open(path, os.O_WRONLY)))
