//! The engine broker's own walls. Who may open the engine's socket is as good as root, so they keep nobody in who has taken
//! the broker over on purpose; they bound what a fault of it can touch, and what it does beside the socket.
//!
//! | layer | what is left |
//! |---|---|
//! | capabilities | `KILL` where it had it: a container is ended from outside when its engine does not answer |
//! | Landlock | read images, processes' control groups and the kernel's facts; write control groups; no TCP; no abstract socket of others |
//! | seccomp | everything but starting a program, changing mounts or namespaces, and what the keeper is refused |

use super::{ABI_KNOWN, ConfineError, Confined, Missing, enforced, grant, step};
use crate::bpf::{Architecture, deny};
use crate::keeper::power::calls::DENIED;
use crate::policy::call_number;
use crate::protocol::LayerState;
use crate::sys::capabilities::{self, Sets};
use crate::sys::child::{FilterKind, install_filter, landlock_abi};
use crate::sys::parent as sys;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated,
    RulesetError, Scope,
};
use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// CAP_KILL.
const KILL: u64 = 1 << 5;
/// CAP_SETPCAP.
const SETPCAP: u64 = 1 << 8;

/// What it reads of the system: which control group a container is in, and its counters.
const READ: [&str; 4] = [
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/urandom",
];
/// Where `cgroup.kill` is.
const WRITTEN: [&str; 2] = ["/sys/fs/cgroup", "/dev/null"];

/// Beside what the keeper is refused: programs, mounts, namespaces, other users.
const REFUSED: &[&str] = &[
    "execve",
    "execveat",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsmount",
    "fsconfig",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "setuid",
    "setgid",
    "setresuid",
    "setresgid",
    "setreuid",
    "setregid",
    "setgroups",
    "capset",
    "mknod",
    "mknodat",
];

/// Confines this process and those that it forks, for good. `images` are the directories of images; those that are not
/// there stay out of reach.
///
/// # Errors
/// A step failed: the process must not go on.
pub fn confine_broker(images: &[PathBuf]) -> Result<Confined, ConfineError> {
    let threads = sys::thread_count();
    if threads != 1 {
        return Err(ConfineError::Threads(threads));
    }
    nix::sys::prctl::set_no_new_privs().map_err(step("set no_new_privs"))?;
    keep_kill().map_err(step("drop capabilities"))?;
    nix::sys::prctl::set_dumpable(false).map_err(step("become undumpable"))?;
    let (landlock, landlock_abi) = restrict_files(images)?;
    let refused: Vec<u32> = DENIED
        .iter()
        .chain(REFUSED)
        .filter_map(|name| call_number(Architecture::HERE, name))
        .collect();
    match install_filter(&deny(Architecture::HERE, &refused), FilterKind::Plain) {
        // A kernel without seccomp: `doctor` says so, because no container would have a filter either.
        Ok(_) | Err(Errno::ENOSYS | Errno::EINVAL) => {}
        Err(errno) => return Err(step("install a seccomp filter")(errno)),
    }
    Ok(Confined {
        landlock,
        landlock_abi,
        allowed_calls: 0,
    })
}

fn keep_kill() -> nix::Result<()> {
    let held = capabilities::get()?.permitted;
    capabilities::clear_ambient()?;
    if held & SETPCAP != 0 {
        capabilities::set(Sets {
            effective: held,
            permitted: held,
            inheritable: 0,
        })?;
        capabilities::limit_bounding(KILL)?;
        capabilities::lock_securebits()?;
    }
    let left = held & KILL;
    capabilities::set(Sets {
        effective: left,
        permitted: left,
        inheritable: 0,
    })
}

fn restrict_files(images: &[PathBuf]) -> Result<(LayerState, u8), ConfineError> {
    let kernel = landlock_abi();
    if kernel < 1 {
        return Ok((LayerState::Missing, 0));
    }
    let abi = ABI::from(kernel.min(ABI_KNOWN));
    let mut ruleset = create(abi).map_err(ConfineError::Landlock)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let paths = READ
        .iter()
        .map(Path::new)
        .chain(images.iter().map(PathBuf::as_path));
    for path in paths {
        ruleset = grant(ruleset, path, read, Missing::IsFine)?;
    }
    for path in WRITTEN {
        ruleset = grant(
            ruleset,
            Path::new(path),
            read | AccessFs::WriteFile,
            Missing::IsFine,
        )?;
    }
    let status = ruleset.restrict_self().map_err(ConfineError::Landlock)?;
    Ok((enforced(&status.ruleset), u8::try_from(kernel).unwrap_or(u8::MAX)))
}

/// Every right of files and ports, and the scope of abstract sockets. Not the scope of signals: it would protect the
/// containers.
fn create(abi: ABI) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    let ports = AccessNet::from_all(abi);
    if !ports.is_empty() {
        ruleset = ruleset.handle_access(ports)?;
    }
    if Scope::from_all(abi).contains(Scope::AbstractUnixSocket) {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    ruleset.create()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_name_is_a_call_and_is_refused_once() {
        for name in REFUSED {
            let known = [Architecture::X86_64, Architecture::Aarch64];
            assert!(
                known.iter().any(|here| call_number(*here, name).is_some()),
                "{name}"
            );
            assert!(!DENIED.contains(name), "{name}");
        }
    }
}
