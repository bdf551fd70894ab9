//! Seccomp: three stacked filters for the program, one small list each for PID 1 and the enter-helper.

use std::os::fd::OwnedFd;

use super::{Step, at};
use crate::bpf::{Architecture, foreign_abi, only};
use crate::plan::{DisabledLayer, JailPlan, Listener};
use crate::stage::Stage;
use crate::sys::child::{self as sys, FilterKind};

/// Installs the program's filters, which the keeper compiled. The allow-list comes last: it refuses the call that
/// installs filters.
pub(super) fn restrict(plan: &JailPlan) -> Step<Option<OwnedFd>> {
    if !plan.has(DisabledLayer::Seccomp) {
        return Ok(None);
    }
    let filters = &plan.filters;
    sys::install_filter(&filters.foreign_abi, FilterKind::Plain).map_err(at(Stage::Syscalls, 1))?;
    for probed in &filters.probed {
        sys::install_filter(probed, FilterKind::Plain).map_err(at(Stage::Syscalls, 2))?;
    }
    let kind = match filters.listener {
        Listener::Keeper => FilterKind::Notifying,
        Listener::None => FilterKind::Plain,
    };
    sys::install_filter(&filters.allow_list, kind).map_err(at(Stage::Syscalls, 3))
}

/// What PID 1 needs once the program waits: messages, timers, killing and reaping, and memory.
const INIT_CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_signalfd4,
    libc::SYS_kill,
    libc::SYS_getpid,
    libc::SYS_wait4,
    libc::SYS_getrusage,
    libc::SYS_clock_gettime,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_fcntl,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Restricts PID 1 itself: if it were taken over it could do what it does anyway, and nothing else.
pub(super) fn restrict_init() -> Step<()> {
    install_small(INIT_CALLS).map_err(at(Stage::Syscalls, 4))
}

/// Installs a list of calls that are allowed whatever their arguments; everything else is EPERM.
pub(crate) fn install_small(calls: &[libc::c_long]) -> nix::Result<()> {
    let numbers: Vec<u32> = calls
        .iter()
        .filter_map(|call| u32::try_from(*call).ok())
        .collect();
    sys::install_filter(&foreign_abi(Architecture::HERE), FilterKind::Plain)?;
    sys::install_filter(&only(Architecture::HERE, &numbers, EPERM), FilterKind::Plain).map(drop)
}

const EPERM: u16 = 1;
