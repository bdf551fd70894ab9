"""Makes every call of a long list with arguments that do nothing, and says what the kernel or the filter answered."""
import platform
from verdicts import raw, word

X86_64 = dict(
    shmget=29, shmat=30, shmctl=31, semget=64, semop=65, semctl=66, msgget=68, msgsnd=69, msgrcv=70, msgctl=71, ptrace=101, syslog=103, setuid=105,
    setgid=106, setreuid=113, setregid=114, setgroups=116, setresuid=117, setresgid=119, setfsuid=122, setfsgid=123, capset=126, uselib=134,
    personality=135, ustat=136, sysfs=139, vhangup=153, modify_ldt=154, pivot_root=155, sysctl=156, adjtimex=159, chroot=161, acct=163, settimeofday=164,
    mount=165, umount2=166, swapon=167, swapoff=168, sethostname=170, setdomainname=171, iopl=172, ioperm=173, create_module=174, init_module=175,
    delete_module=176, get_kernel_syms=177, query_module=178, quotactl=179, nfsservctl=180, getpmsg=181, afs_syscall=183, tuxcall=184, security=185,
    tkill=200, io_setup=206, io_destroy=207, io_getevents=208, io_submit=209, io_cancel=210, lookup_dcookie=212, remap_file_pages=216, timer_create=222,
    clock_settime=227, vserver=236, mq_open=240, mq_unlink=241, kexec_load=246, add_key=248, request_key=249, keyctl=250, ioprio_set=251,
    inotify_init=253, inotify_add_watch=254, migrate_pages=256, unshare=272, splice=275, tee=276, vmsplice=278, move_pages=279, timerfd_create=283,
    perf_event_open=298, fanotify_init=300, fanotify_mark=301, name_to_handle_at=303, open_by_handle_at=304, clock_adjtime=305, setns=308,
    process_vm_readv=310, process_vm_writev=311, kcmp=312, finit_module=313, sched_setattr=314, seccomp=317, kexec_file_load=320, bpf=321,
    execveat=322, userfaultfd=323, pkey_alloc=330, io_uring_setup=425, io_uring_enter=426, io_uring_register=427, open_tree=428, move_mount=429, fsopen=430,
    fsconfig=431, fsmount=432, fspick=433, clone3=435, openat2=437, pidfd_getfd=438, process_madvise=440, mount_setattr=442, quotactl_fd=443,
    landlock_create_ruleset=444, landlock_add_rule=445, landlock_restrict_self=446, memfd_secret=447, process_mrelease=448, futex_waitv=449,
    set_mempolicy_home_node=450, cachestat=451, map_shadow_stack=453, statmount=457, listmount=458, lsm_get_self_attr=459, lsm_set_self_attr=460,
    lsm_list_modules=461, setxattrat=463, open_tree_attr=467)
AARCH64 = dict(
    shmget=194, semget=190, msgget=186, ptrace=117, syslog=116, setuid=146, setgid=144, setgroups=159, capset=91, personality=92, vhangup=58, pivot_root=41,
    adjtimex=171, chroot=51, acct=89, settimeofday=170, mount=40, umount2=39, swapon=224, swapoff=225, sethostname=161, setdomainname=162, init_module=105,
    delete_module=106, quotactl=60, tkill=130, io_setup=0, timer_create=107, clock_settime=112, mq_open=180, kexec_load=104, add_key=217, request_key=218,
    keyctl=219, ioprio_set=30, inotify_add_watch=27, migrate_pages=238, unshare=97, splice=76, tee=77, vmsplice=75, move_pages=239, timerfd_create=85,
    perf_event_open=241, fanotify_init=262, name_to_handle_at=264, open_by_handle_at=265, setns=268, process_vm_readv=270, process_vm_writev=271, kcmp=272,
    finit_module=273, sched_setattr=274, seccomp=277, bpf=280, execveat=281, userfaultfd=282, io_uring_setup=425, open_tree=428, move_mount=429, fsopen=430,
    fsconfig=431, fsmount=432, fspick=433, clone3=435, openat2=437, pidfd_getfd=438, process_madvise=440, mount_setattr=442, memfd_secret=447)

for name, number in (X86_64 if platform.machine() == "x86_64" else AARCH64).items():
    try:
        # Bad everywhere: no address, no descriptor, no process, no size.
        result = raw(number, -1, -1, -1, -1, -1, -1)
        print("REACHED", name, result, flush=True)
    except OSError as error:
        answer = word(error)
        print("REFUSED" if answer in ("EPERM", "ENOSYS") else "REACHED", name, answer, flush=True)
