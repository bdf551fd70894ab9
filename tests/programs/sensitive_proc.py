"""Reads and writes the entries of /proc that tell about the host or change it."""
import os
from verdicts import attempt, saw


def read(path):
    """Some bytes of a file, or the names in a directory; emptiness is a refusal."""
    if os.path.isdir(path):
        found = os.listdir(path)
    else:
        # The kernel's log blocks a reader who has seen it all.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = os.read(descriptor, 64)
        finally:
            os.close(descriptor)
    if not found:
        raise OSError(61, "empty")
    return found


def write(path):
    """Opens for writing; a file that is hidden behind the null device takes everything and does nothing."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        if os.fstat(descriptor).st_rdev == os.makedev(1, 3):
            raise OSError(61, "hidden")
    finally:
        os.close(descriptor)


for path in ("kcore", "keys", "key-users", "timer_list", "sched_debug", "acpi", "scsi", "kmsg", "kallsyms", "kpagecount",
             "kpageflags", "latency_stats", "sysrq-trigger", "slabinfo", "vmallocinfo", "interrupts", "softirqs",
             "locks", "diskstats", "partitions", "iomem", "zoneinfo", "buddyinfo", "sys/kernel/random/boot_id", "1/environ", "1/maps", "1/root"):
    attempt("read /proc/" + path, lambda: read("/proc/" + path))
for path in ("sys/kernel/hostname", "sys/kernel/core_pattern", "sys/vm/overcommit_memory", "sys/kernel/randomize_va_space",
             "sys/net/ipv4/ip_forward", "sysrq-trigger", "irq/0/smp_affinity", "sys/kernel/ns_last_pid",
             "sys/user/max_user_namespaces", "sys/kernel/modprobe", "1/oom_score_adj"):
    attempt("write /proc/" + path, lambda: write("/proc/" + path))
saw("pids", len([name for name in os.listdir("/proc") if name.isdigit()]))
