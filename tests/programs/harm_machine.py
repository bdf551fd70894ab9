"""Calls that change the whole machine, with arguments that really do it, each taken back at once.

Outside a cell this is only for a machine that may be harmed. Arguments: a directory to write in; a kernel module that
is not loaded.
"""
import errno
import os
import stat
import subprocess
import sys
import time
from ctypes import byref, c_long
from verdicts import attempt, call

directory, module = sys.argv[1:3]


class Clock:
    """Sets the clock an hour ahead, and back again."""

    def __init__(self, setter):
        self.setter = setter

    def __call__(self):
        before, began = time.time(), time.monotonic()
        self.setter(int(before) + 3600)
        ahead = time.time() - before > 3000
        self.setter(int(before + time.monotonic() - began))
        if not ahead:
            raise RuntimeError("the clock did not move")


def by_settimeofday(seconds):
    call("settimeofday", byref((c_long * 2)(seconds, 0)), 0)


def by_clock_settime(seconds):
    call("clock_settime", 0, byref((c_long * 2)(seconds, 0)))


def load_module():
    descriptor = os.open(module, os.O_RDONLY)
    try:
        call("finit_module", descriptor, "", 0)
    finally:
        os.close(descriptor)
    call("delete_module", os.path.basename(module)[:-3], 0)


def swap_on():
    path = os.path.join(directory, "swap")
    with open(path, "wb") as file:
        file.write(bytes(1 << 20))
    os.chmod(path, 0o600)
    if os.getuid() == 0:
        subprocess.run(["mkswap", path], check=True, capture_output=True)
    call("swapon", path, 0)
    call("swapoff", path)


def account():
    path = os.path.join(directory, "accounting")
    open(path, "w").close()
    call("acct", path)
    call("acct", 0)


def write(path, text):
    # A masked entry is the null device, which takes everything and does nothing.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise FileNotFoundError(errno.ENOENT, "masked", path)
    with open(path, "w") as file:
        file.write(text)


name = os.uname().nodename
attempt("sethostname", lambda: (call("sethostname", "harmed", 6), call("sethostname", name, len(name))))
attempt("setdomainname", lambda: (call("setdomainname", "harmed", 6), call("setdomainname", "(none)", 6)))
attempt("settimeofday", Clock(by_settimeofday))
attempt("clock_settime", Clock(by_clock_settime))
attempt("finit_module", load_module)
attempt("swapon", swap_on)
attempt("acct", account)
# Nothing is loaded: this only forgets a kernel that would be started next.
attempt("kexec_load", lambda: call("kexec_load", 0, 0, 0, 0))
# What Ctrl-Alt-Del does; nothing restarts.
attempt("reboot", lambda: call("reboot", 0xFEE1DEAD, 672274793, 0, 0))
# Prints a help text to the kernel log.
attempt("sysrq", lambda: write("/proc/sysrq-trigger", "h"))
attempt("sysctl", lambda: write("/proc/sys/kernel/panic_on_warn", "0"))
