//! What belongs to the namespaces as a whole: host name, loopback, and how many more may be made (none).

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, OwnedFd};

use super::{Step, at};
use crate::plan::{DisabledLayer, JailPlan, ProcMount};
use crate::stage::Stage;
use crate::sys::child as sys;

/// The kernel's counters of namespaces that a user of this user namespace may make.
const NAMESPACE_LIMITS: [&str; 8] = [
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/user/max_pid_namespaces",
    "/proc/sys/user/max_mnt_namespaces",
    "/proc/sys/user/max_net_namespaces",
    "/proc/sys/user/max_ipc_namespaces",
    "/proc/sys/user/max_uts_namespaces",
    "/proc/sys/user/max_cgroup_namespaces",
    "/proc/sys/user/max_time_namespaces",
];

/// A descriptor of the cell's user namespace, for the enter-helper. Opened while the outer `/proc` is still there.
pub(super) fn own_user_namespace() -> Step<OwnedFd> {
    open(
        "/proc/self/ns/user",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(at(Stage::Namespace, 0))
}

/// Sets everything that this stage sets. Runs after `/proc` is mounted and before it is made read-only.
pub(super) fn limit(plan: &JailPlan) -> Step<()> {
    nix::unistd::sethostname(&plan.host_name).map_err(at(Stage::Namespace, 1))?;
    // "(none)" is what the kernel starts with; a copy of the host's domain would tell where the cell runs.
    sys::set_domain_name(c"(none)").map_err(at(Stage::Namespace, 2))?;
    if plan.has(DisabledLayer::NetworkNamespace) {
        loopback_up().map_err(at(Stage::Namespace, 3))?;
    }
    match plan.proc_mount {
        ProcMount::Own => limit_namespaces(),
        // Without a procfs of its own the cell has no knobs; the filter refuses new namespaces anyway.
        ProcMount::Synthetic => Ok(()),
    }
}

fn loopback_up() -> nix::Result<()> {
    let any = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    sys::bring_up(any.as_fd(), c"lo")
}

fn limit_namespaces() -> Step<()> {
    for (item, path) in (4u16..).zip(NAMESPACE_LIMITS) {
        let failed = at(Stage::Namespace, item);
        match open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(knob) => nix::unistd::write(&knob, b"0").map(drop).map_err(failed)?,
            // A kernel without that kind of namespace; the user namespace itself is always there.
            Err(Errno::ENOENT) if item > 4 => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}
