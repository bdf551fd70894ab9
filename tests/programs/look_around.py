"""Everything around it that could name the host, the user, the tenant or the job."""
import glob
import os
import socket
from verdicts import saw


def show(path):
    try:
        with open(path, "rb") as source:
            content = source.read(65536)
    except OSError as error:
        saw(path, f"errno {error.errno}")
        return
    for line in content.replace(b"\0", b" ").decode("utf-8", "replace").splitlines():
        saw(path, line)


for path in sorted(glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline")):
    show(path)
for path in ("/proc/self/mountinfo", "/proc/self/cgroup", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", "/etc/group",
             "/proc/sys/kernel/hostname", "/proc/sys/kernel/random/boot_id", "/etc/machine-id"):
    show(path)
saw("hostname", socket.gethostname())
saw("uname", " ".join(os.uname()))
