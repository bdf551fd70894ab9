//! Starting an enter-helper: `brig-jail-init --enter` in a cell's user namespace and control groups, with the
//! cell's uid and nothing but the daemon's socket and the workspace. It works as long as the keeper holds these
//! two descriptors, also after the cell has died.

use crate::cgroup::CellGroups;
use crate::control::ENTER_WORKSPACE_FD;
use crate::launch::{LastFd, calm_down, join_outer, leave_keeper};
use crate::plan::AGENT_ID;
use crate::protocol::UidKind;
use crate::sys::parent as sys;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{ForkResult, Gid, Pid, Uid, setresgid, setresuid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// Where an enter-helper works.
#[derive(Debug)]
pub(crate) struct EnterPlace<'a> {
    /// The cell's groups.
    pub(crate) groups: Option<&'a CellGroups>,
    /// The outer user namespace and its kind.
    pub(crate) outer: BorrowedFd<'a>,
    /// What has to be done to be somebody in the outer namespace.
    pub(crate) uid_kind: UidKind,
    /// The cell's own user namespace.
    pub(crate) user_namespace: BorrowedFd<'a>,
    /// O_PATH descriptor of the workspace.
    pub(crate) workspace: BorrowedFd<'a>,
    /// The sealed `brig-jail-init`.
    pub(crate) init: BorrowedFd<'a>,
}

const INIT_FD: RawFd = 5;
const OUTER_FD: RawFd = 6;
const USER_FD: RawFd = 7;

/// Forks and returns at once, with the daemon's end of the helper's socket. A helper that cannot start ends, and
/// the daemon sees the end of the socket.
pub(crate) fn launch_enter(place: &EnterPlace<'_>) -> nix::Result<(Pid, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
    match sys::fork_single_threaded()? {
        ForkResult::Parent { child } => Ok((child, ours)),
        ForkResult::Child => {
            let errno = enter(place, &theirs);
            sys::exit_now(errno as i32)
        }
    }
}

fn enter(place: &EnterPlace<'_>, socket: &OwnedFd) -> Errno {
    match prepare(place, socket) {
        Ok(()) => sys::execute_descriptor_with(sys::borrow_fixed(INIT_FD), c"brig-jail-init", c"--enter"),
        Err(errno) => errno,
    }
}

fn prepare(place: &EnterPlace<'_>, socket: &OwnedFd) -> nix::Result<()> {
    let kept = [
        socket.as_fd(),
        place.workspace,
        place.init,
        place.outer,
        place.user_namespace,
    ];
    leave_keeper(kept, LastFd(USER_FD))?;
    // Both stay with the program that is executed: 3 and the workspace. The others end with exec.
    for inner in ENTER_WORKSPACE_FD + 1..=USER_FD {
        fcntl(sys::borrow_fixed(inner), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    // It handles what the program left: no more important than the program.
    calm_down();
    // What the helper reads and writes is charged to the cell.
    if let Some(groups) = place.groups {
        groups.enter_as_helper()?;
    }
    join_outer(sys::borrow_fixed(OUTER_FD), place.uid_kind)?;
    setns(sys::borrow_fixed(USER_FD), CloneFlags::CLONE_NEWUSER)?;
    let (uid, gid) = (Uid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    prctl::set_no_new_privs()
}
