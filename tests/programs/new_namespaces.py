"""Makes namespaces: unshare, clone flags, setns, clone3. Each try in a child, so that none disturbs the next."""
import ctypes
import os
import signal
from verdicts import attempt, call, NUMBERS, libc, saw

FLAGS = dict(user=0x10000000, mount=0x00020000, pid=0x20000000, net=0x40000000, ipc=0x08000000, uts=0x04000000,
             cgroup=0x02000000, time=0x00000080)


def in_child(action):
    """The errno of `action` in a child, as an exception here."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except OSError as error:
            os._exit(error.errno)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def clone_with(flag):
    ctypes.set_errno(0)
    pid = libc.syscall(ctypes.c_long(NUMBERS["clone"]), ctypes.c_ulong(flag | signal.SIGCHLD), None, None, None, None)
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone")
    os.waitpid(pid, 0)


def clone3():
    class Arguments(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in
                    "flags pidfd child_tid parent_tid exit_signal stack stack_size tls".split()]

    arguments = Arguments(exit_signal=signal.SIGCHLD)
    pid = libc.syscall(ctypes.c_long(NUMBERS["clone3"]), ctypes.byref(arguments), ctypes.c_size_t(64))
    if pid == 0:
        os._exit(0)
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    os.waitpid(pid, 0)


for name, flag in FLAGS.items():
    attempt("unshare " + name, lambda: in_child(lambda: call("unshare", flag)))
    if name != "time":
        attempt("clone " + name, lambda: in_child(lambda: clone_with(flag)))
attempt("setns", lambda: in_child(lambda: call("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), 0)))
attempt("clone3", clone3)
try:
    saw("max_user_namespaces", open("/proc/sys/user/max_user_namespaces").read().strip())
except OSError as error:
    saw("max_user_namespaces", error.errno)
