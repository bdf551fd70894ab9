//! The calls of a threaded server that keeps its data in SQLite and talks on sockets that it already has.

use crate::bpf::Architecture;
use crate::plan::FilterInstruction;
use crate::policy::call_number;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Allowed whatever the arguments.
const PLAIN: &[&str] = &[
    // Descriptors: the store's files, sockets, pipes.
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "fcntl",
    "lseek",
    "pipe2",
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
    "statfs",
    "fstatfs",
    "umask",
    "mkdir",
    "mkdirat",
    "rmdir",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchown",
    "utimensat",
    "ftruncate",
    "fallocate",
    "fadvise64",
    "flock",
    "fsync",
    "fdatasync",
    "copy_file_range",
    "sendfile",
    // Memory, SQLite's memory-mapped index among it.
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
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
    // Sockets that exist already, and the keeper's records with descriptors. No new socket but a pair: tokio
    // carries signals over one.
    "accept",
    "accept4",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "shutdown",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "socketpair",
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

/// The requests of terminals and sockets that std and tokio make.
const IOCTLS: [u64; 5] = [0x5401, 0x5413, 0x541b, 0x5421, 0x5451];

/// Names of threads and of memory (the allocator's), and nothing else.
const PRCTLS: [u64; 3] = [15, 16, 0x5356_4d41];

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
    allow(
        "clone",
        vec![only(0, SeccompCmpOp::MaskedEq(CLONE_THREAD), CLONE_THREAD)?],
    );
    allow("tgkill", vec![only(0, SeccompCmpOp::Eq, own_pid.into())?]);
    // Its own limits: raising the soft number of descriptors.
    allow("prlimit64", vec![only(0, SeccompCmpOp::Eq, 0)?]);
    allow("ioctl", any_of(1, &IOCTLS)?);
    allow("prctl", any_of(0, &PRCTLS)?);
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

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

fn only(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?])
}

fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values
        .iter()
        .map(|value| only(argument, SeccompCmpOp::Eq, *value))
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

    #[test]
    fn no_call_that_makes_processes_or_sockets_is_on_the_list() {
        let never = [
            "execve", "execveat", "fork", "vfork", "socket", "connect", "bind", "listen", "ptrace", "kill",
        ];
        assert!(!PLAIN.iter().any(|name| never.contains(name)));
    }

    #[test]
    fn the_filters_compile_for_both_architectures() {
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let filters = compile(architecture, 1).unwrap();
            assert!(filters.allowed_calls < 130, "{}", filters.allowed_calls);
        }
    }
}
