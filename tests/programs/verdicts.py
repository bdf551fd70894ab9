"""How the programs of the corpus say what they saw: one line for each thing they tried.

    REACHED name detail     the attempt had its effect
    REFUSED name errno      it was refused (the error's name: EPERM, ENOENT, MemoryError, ...)
    SAW name value          a fact about the surroundings

The harness reads these lines. Outside a cell the same program says REACHED, which proves that it can.
"""

import ctypes
import errno
import os
import platform

_NUMBERS = {
    "x86_64": dict(
        ptrace=101, mount=165, umount2=166, pivot_root=155, chroot=161, fsopen=430, fsmount=432, move_mount=429,
        open_tree=428, mount_setattr=442, unshare=272, setns=308, clone3=435, clone=56, bpf=321,
        perf_event_open=298, userfaultfd=323, io_uring_setup=425, add_key=248, keyctl=250, request_key=249,
        init_module=175, finit_module=313, delete_module=176, kexec_load=246, reboot=169, swapon=167, swapoff=168,
        acct=163, settimeofday=164, clock_settime=227, adjtimex=159, sethostname=170, setdomainname=171,
        process_vm_readv=310, process_vm_writev=311, personality=135, syslog=103, quotactl=179, open_by_handle_at=304,
        name_to_handle_at=303, pidfd_getfd=438, kcmp=312, iopl=172, ioperm=173, setuid=105, setgroups=116,
        fanotify_init=300, lookup_dcookie=212, vhangup=153, move_pages=279, migrate_pages=256,
    ),
    "aarch64": dict(
        ptrace=117, mount=40, umount2=39, pivot_root=41, chroot=51, fsopen=430, fsmount=432, move_mount=429,
        open_tree=428, mount_setattr=442, unshare=97, setns=268, clone3=435, clone=220, bpf=280,
        perf_event_open=241, userfaultfd=282, io_uring_setup=425, add_key=217, keyctl=219, request_key=218,
        init_module=105, finit_module=273, delete_module=106, kexec_load=104, reboot=142, swapon=224, swapoff=225,
        acct=89, settimeofday=170, clock_settime=112, adjtimex=171, sethostname=161, setdomainname=162,
        process_vm_readv=270, process_vm_writev=271, personality=92, syslog=116, quotactl=60, open_by_handle_at=265,
        name_to_handle_at=264, pidfd_getfd=438, kcmp=272, setuid=146, setgroups=159,
        fanotify_init=262, lookup_dcookie=18, vhangup=58, move_pages=239, migrate_pages=238,
    ),
}

NUMBERS = _NUMBERS[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def raw(number, *arguments):
    """One system call by its number; fails like the functions of `os` do."""
    converted = []
    for argument in arguments:
        if isinstance(argument, int):
            argument = ctypes.c_long(argument)
        elif isinstance(argument, str):
            argument = ctypes.c_char_p(argument.encode())
        elif isinstance(argument, bytes):
            argument = ctypes.c_char_p(argument)
        converted.append(argument)
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *converted)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def call(name, *arguments):
    """One system call by its name."""
    return raw(NUMBERS[name], *arguments)


def word(error):
    """The short word for an exception: the name of its errno where it has one."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number in errno.errorcode:
        return errno.errorcode[number]
    return type(error).__name__


def attempt(name, action):
    """Tries `action` and says in one line what came of it."""
    try:
        result = action()
    except BaseException as error:
        print("REFUSED", name, word(error), flush=True)
        return None
    detail = "" if result is None else repr(result)[:200]
    print("REACHED", name, detail, flush=True)
    return result


def saw(name, value):
    """A fact."""
    print("SAW", name, value, flush=True)
