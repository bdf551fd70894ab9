"""Its own identity, from /proc/self/status and the calls that ask for it."""
import os
from verdicts import saw

with open("/proc/self/status") as status:
    for line in status:
        name, _, value = line.partition(":")
        if name in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Umask", "TracerPid"):
            saw(name, " ".join(value.split()) or "-")
for name in ("uid_map", "gid_map", "setgroups"):
    with open(f"/proc/self/{name}") as source:
        saw(name, " ".join(source.read().split()))
saw("session", os.getsid(0))
saw("group", os.getpgrp())
saw("pid", os.getpid())
try:
    saw("terminal", os.open("/dev/tty", os.O_RDWR))
except OSError as error:
    saw("terminal", "none")
try:
    import pwd
    saw("name", pwd.getpwuid(os.getuid()).pw_name)
except KeyError:
    saw("name", "-")
