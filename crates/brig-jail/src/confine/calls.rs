//! The calls of a threaded server that keeps its data in SQLite and talks on sockets that it already has.

use crate::bpf::Architecture;
use crate::plan::FilterInstruction;
use crate::policy::call_number;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Allowed whatever the arguments. What is not here on purpose: changing the mode, owner or times of a file, which
/// Landlock does not refuse and which a daemon of root could do to every file of root.
const PLAIN: &[&str] = &[
    // Descriptors: the store's files, sockets, pipes.
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "close",
    "lseek",
    // Files below what Landlock leaves. The C library and std choose among old and new forms.
    "open",
    "openat",
    "stat",
    "fstat",
    "lstat",
    "newfstatat",
    "statx",
    "access",
    "faccessat",
    "faccessat2",
    "getdents64",
    "readlink",
    "readlinkat",
    "getcwd",
    "mkdir",
    "mkdirat",
    "rmdir",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "ftruncate",
    "fallocate",
    "flock",
    "fsync",
    "fdatasync",
    // Memory, SQLite's memory-mapped index among it.
    "munmap",
    "mremap",
    "madvise",
    "msync",
    "brk",
    // Threads.
    "futex",
    "set_robust_list",
    "rseq",
    "sched_yield",
    "sched_getaffinity",
    "exit",
    "exit_group",
    "gettid",
    "set_tid_address",
    // Signals to itself: tokio's handlers, SQLite's none, abort.
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "restart_syscall",
    // Waiting.
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd2",
    "poll",
    "ppoll",
    "clock_nanosleep",
    "nanosleep",
    // Sockets that exist already, and the keeper's records with descriptors.
    "accept4",
    "getsockname",
    "getpeername",
    "getsockopt",
    "shutdown",
    "recvfrom",
    "recvmsg",
    // Facts.
    "getrandom",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "time",
    "uname",
    "sysinfo",
    "getrusage",
    "getpid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getrlimit",
];

const CLONE_THREAD: u64 = 0x0001_0000;
/// CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_NAMESPACES: u64 = 0x7e02_0080;

/// The requests of terminals and sockets that std and tokio make: TCGETS, FIONBIO, FIOCLEX.
const IOCTLS: [u64; 3] = [0x5401, 0x5421, 0x5451];

/// Names of threads and of memory (the allocator's), and nothing else.
const PRCTLS: [u64; 3] = [15, 16, 0x5356_4d41];

/// Copies, flags and locks of descriptors. Not F_SETOWN and F_SETSIG: with these two a process sends signals of its
/// choice to others, and the kernel lets root's reach every process.
const FCNTLS: [u64; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030];

const PROT_EXEC: u64 = 4;
const AF_UNIX: u64 = 1;
const SOCK_STREAM: u64 = 1;
/// The type of a socket without its flags.
const SOCK_TYPES: u64 = 0xf;
const IPPROTO_TCP: u64 = 6;
const TCP_NODELAY: u64 = 1;
/// Opens a connection, and no rule on `connect` would see it.
const MSG_FASTOPEN: u64 = 0x2000_0000;

/// The compiled filters.
#[derive(Debug)]
pub(super) struct DaemonFilters {
    pub(super) no_clone3: Vec<FilterInstruction>,
    pub(super) allow: Vec<FilterInstruction>,
    pub(super) allowed_calls: usize,
}

pub(super) fn compile(architecture: Architecture, own_pid: u32) -> Result<DaemonFilters, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut allow = |name: &str, any: Vec<SeccompRule>| {
        // Old forms do not exist on every architecture.
        if let Some(number) = call_number(architecture, name) {
            rules.insert(i64::from(number), any);
        }
    };
    for name in PLAIN {
        allow(name, Vec::new());
    }
    for (name, any) in conditional(own_pid)? {
        allow(name, any);
    }
    let allowed_calls = rules.len();
    let clone3 = call_number(architecture, "clone3").map_or(435, i64::from);
    // Of two filters that fail a call the newer one names the error: so this list has to let clone3 pass, and the
    // older filter says that it does not exist.
    rules.insert(clone3, Vec::new());
    let target = match architecture {
        Architecture::X86_64 => TargetArch::x86_64,
        Architecture::Aarch64 => TargetArch::aarch64,
    };
    let refuse = SeccompAction::Errno(EPERM);
    let list = SeccompFilter::new(rules, refuse, SeccompAction::Allow, target)?;
    let absent = SeccompAction::Errno(ENOSYS);
    let no_clone3 = SeccompFilter::new(
        BTreeMap::from([(clone3, vec![])]),
        SeccompAction::Allow,
        absent,
        target,
    )?;
    Ok(DaemonFilters {
        no_clone3: instructions(no_clone3)?,
        allow: instructions(list)?,
        allowed_calls,
    })
}

/// Allowed with some arguments only.
fn conditional(own_pid: u32) -> Result<Vec<(&'static str, Vec<SeccompRule>)>, BackendError> {
    let no_code = || {
        let not_executable = dword(2, SeccompCmpOp::MaskedEq(PROT_EXEC), 0)?;
        all_of(vec![not_executable])
    };
    let kind = CLONE_THREAD | CLONE_NAMESPACES;
    Ok(vec![
        (
            "clone",
            all_of(vec![dword(0, SeccompCmpOp::MaskedEq(kind), CLONE_THREAD)?])?,
        ),
        (
            "tgkill",
            all_of(vec![dword(0, SeccompCmpOp::Eq, own_pid.into())?])?,
        ),
        // Its own limits: raising the soft number of descriptors.
        ("prlimit64", all_of(vec![dword(0, SeccompCmpOp::Eq, 0)?])?),
        ("ioctl", any_of(1, &IOCTLS)?),
        ("prctl", any_of(0, &PRCTLS)?),
        ("fcntl", any_of(1, &FCNTLS)?),
        ("mmap", no_code()?),
        ("mprotect", no_code()?),
        // No new socket but a pair of streams: tokio carries signals over one. A pair of datagrams could be used to
        // write to any socket with a name.
        (
            "socketpair",
            all_of(vec![
                dword(0, SeccompCmpOp::Eq, AF_UNIX)?,
                dword(1, SeccompCmpOp::MaskedEq(SOCK_TYPES), SOCK_STREAM)?,
            ])?,
        ),
        // To nobody but the other end.
        (
            "sendto",
            all_of(vec![
                dword(3, SeccompCmpOp::MaskedEq(MSG_FASTOPEN), 0)?,
                SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?,
            ])?,
        ),
        (
            "sendmsg",
            all_of(vec![dword(2, SeccompCmpOp::MaskedEq(MSG_FASTOPEN), 0)?])?,
        ),
        (
            "setsockopt",
            all_of(vec![
                dword(1, SeccompCmpOp::Eq, IPPROTO_TCP)?,
                dword(2, SeccompCmpOp::Eq, TCP_NODELAY)?,
            ])?,
        ),
    ])
}

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

fn dword(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn all_of(conditions: Vec<SeccompCondition>) -> Result<Vec<SeccompRule>, BackendError> {
    Ok(vec![SeccompRule::new(conditions)?])
}

fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values
        .iter()
        .map(|value| SeccompRule::new(vec![dword(argument, SeccompCmpOp::Eq, *value)?]))
        .collect()
}

fn instructions(filter: SeccompFilter) -> Result<Vec<FilterInstruction>, BackendError> {
    let program = BpfProgram::try_from(filter)?;
    let plain = program.iter().map(|one| FilterInstruction {
        code: one.code,
        jt: one.jt,
        jf: one.jf,
        k: one.k,
    });
    Ok(plain.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::interpreter::{CallData, run};
    use crate::bpf::{RETURN_ALLOW, RETURN_ERRNO};

    #[test]
    fn every_name_of_the_list_is_a_call_somewhere() {
        for name in PLAIN {
            let known = [Architecture::X86_64, Architecture::Aarch64];
            assert!(
                known.iter().any(|here| call_number(*here, name).is_some()),
                "{name}"
            );
        }
    }

    /// What a taken-over daemon must never get, whatever a rule is added for.
    const NEVER: &str = "execve execveat fork vfork clone3 socket connect bind listen accept ptrace kill tkill
        rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_getfd pidfd_send_signal process_vm_readv process_vm_writev
        bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register unshare setns mount umount2
        pivot_root chroot move_mount open_tree fsopen fsmount mount_setattr keyctl add_key request_key init_module
        finit_module kexec_load reboot swapon setuid setgid setresuid setresgid setgroups capset chmod fchmod
        fchmodat fchmodat2 chown fchown lchown fchownat utimensat futimesat utimes setxattr fsetxattr truncate
        mknod mknodat link linkat symlink symlinkat name_to_handle_at open_by_handle_at memfd_create memfd_secret
        shmget shmat mq_open timer_create setitimer personality pkey_mprotect seccomp splice vmsplice tee";

    fn answer(name: &str, arguments: &[u64]) -> Option<u32> {
        let architecture = Architecture::HERE;
        let filters = compile(architecture, 77).unwrap();
        let mut call = CallData {
            number: call_number(architecture, name)?,
            architecture: architecture.audit_number(),
            arguments: [0; 6],
        };
        call.arguments[..arguments.len()].copy_from_slice(arguments);
        // The strictest of the filters counts; of two errors the newer one.
        let answers = [run(&filters.no_clone3, &call), run(&filters.allow, &call)];
        Some(if answers.contains(&RETURN_ALLOW) && answers[0] == answers[1] {
            RETURN_ALLOW
        } else {
            RETURN_ERRNO
        })
    }

    #[test]
    fn what_a_taken_over_daemon_could_use_is_refused() {
        for name in NEVER.split_whitespace() {
            if let Some(answer) = answer(name, &[]) {
                assert_eq!(answer, RETURN_ERRNO, "{name}");
            }
        }
    }

    #[test]
    fn arguments_decide_where_a_call_is_needed_and_dangerous_too() {
        let thread = 0x3d_0f00;
        let cases: &[(&str, &[u64], &[u64])] = &[
            ("clone", &[thread], &[17]),
            ("clone", &[thread], &[thread | 0x0002_0000]),
            ("clone", &[thread], &[thread | 0x0000_0080]),
            ("tgkill", &[77, 78], &[1, 1]),
            ("prlimit64", &[0, 7], &[1, 7]),
            ("ioctl", &[0, 0x5421], &[0, 0x5412]),
            ("prctl", &[15], &[4]),
            ("fcntl", &[3, 6], &[3, 8]),
            ("fcntl", &[3, 1030], &[3, 10]),
            ("fcntl", &[3, 3], &[3, 15]),
            ("mmap", &[0, 4096, 3], &[0, 4096, 7]),
            ("mprotect", &[0, 4096, 1], &[0, 4096, 5]),
            ("socketpair", &[1, 1 | 0x80800], &[1, 2]),
            ("socketpair", &[1, 1], &[30, 1]),
            ("sendto", &[3, 9, 1, 0x4000, 0, 0], &[3, 9, 1, 0x4000, 9, 110]),
            ("sendto", &[3, 9, 1, 0, 0, 0], &[3, 9, 1, 0, 1 << 40, 16]),
            ("sendto", &[3, 9, 1, 0, 0, 0], &[3, 9, 1, MSG_FASTOPEN, 0, 0]),
            ("sendmsg", &[3, 9, 0x4040], &[3, 9, MSG_FASTOPEN]),
            ("setsockopt", &[3, 6, 1], &[3, 1, 26]),
        ];
        for (name, allowed, refused) in cases {
            assert_eq!(answer(name, allowed), Some(RETURN_ALLOW), "{name} {allowed:?}");
            assert_eq!(answer(name, refused), Some(RETURN_ERRNO), "{name} {refused:?}");
        }
    }

    #[test]
    fn the_filters_compile_for_both_architectures() {
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let filters = compile(architecture, 1).unwrap();
            assert!(filters.allowed_calls < 100, "{}", filters.allowed_calls);
        }
    }
}
