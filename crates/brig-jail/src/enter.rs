//! The enter-helper: `brig-jail-init --enter`, which handles the files of one cell for the daemon.
//!
//! The keeper starts it with the cell's uid in the cell's user namespace and control group, a socket to the daemon
//! as descriptor 3 and an O_PATH descriptor of the workspace as descriptor 4. It needs no `/proc`, no mount
//! namespace of the cell and no running process in it, so it also works after the cell has died.
//!
//! In a container it is a child of PID 1 instead, before and after the program and never beside it: see
//! [`serve_in_container`].
//!
//! Everything below the workspace was arranged by hostile code. So: every look-up stays beneath the workspace and
//! follows no link; a file is looked at before it is opened and again afterwards; opening never waits; bytes are
//! counted as they are read; and an alarm ends the helper when nothing moves.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

use crate::child::{IdentityKind, drop_power, install_small};
use crate::control::{CONTROL_FD, ENTER_WORKSPACE_FD};
use crate::files::{FileReply, FileRequest};
use crate::sys::child as sys;

mod collect;
mod store;
mod stream;
mod tree;

use stream::{Gone, Stream};
use tree::Workspace;

/// Seconds without progress after which the helper is killed by its own alarm.
const ALARM_SECONDS: u32 = 60;

/// `main` of the helper. The result is the exit code.
pub fn run() -> u8 {
    let (Some(socket), Some(workspace)) = (
        sys::take_inherited(CONTROL_FD),
        sys::take_inherited(ENTER_WORKSPACE_FD),
    ) else {
        return 2;
    };
    let locked = lock_down(&workspace);
    serve_if(locked, socket, workspace)
}

/// The same for a child of a container's PID 1, which has been forked for it. The user, the capabilities, the filter and
/// the sight of the file system are the container's already, and a second filter or a Landlock domain is what the
/// container lets through: Brig's own profile refuses both. Nothing of the job runs beside this process.
pub(crate) fn serve_in_container(socket: OwnedFd, workspace: OwnedFd) -> u8 {
    let locked = lock_down_in_container(&workspace);
    serve_if(locked, socket, workspace)
}

fn serve_if(locked: nix::Result<()>, socket: OwnedFd, workspace: OwnedFd) -> u8 {
    let mut stream = Stream::new(socket);
    match locked {
        Ok(()) => serve(&mut stream, &Workspace::new(workspace)).map_or(0, |()| 0),
        Err(errno) => {
            stream.send(&FileReply::Failed { errno: errno as i32 }).ok();
            1
        }
    }
}

fn lock_down_in_container(workspace: &OwnedFd) -> nix::Result<()> {
    nix::unistd::alarm::set(ALARM_SECONDS);
    nix::unistd::fchdir(workspace)?;
    restrict_files(workspace)?;
    // `openat` beside the others: the kernel may not have `openat2`.
    match install_small(&[CALLS, &[libc::SYS_openat]].concat()) {
        Ok(()) | Err(Errno::EPERM | Errno::EACCES | Errno::EINVAL | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_fcntl,
    libc::SYS_lseek,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_alarm,
    libc::SYS_setitimer,
    libc::SYS_clock_gettime,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// No descriptor, no capability, no file but the workspace, no call but the ones above.
fn lock_down(workspace: &OwnedFd) -> nix::Result<()> {
    nix::unistd::alarm::set(ALARM_SECONDS);
    sys::close_from((ENTER_WORKSPACE_FD + 1).cast_unsigned())?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    confine_root(workspace)?;
    drop_power(IdentityKind::Helper).map_err(|failure| Errno::from_raw(failure.errno))?;
    restrict_files(workspace)?;
    install_small(CALLS)
}

/// Makes the workspace the root, where the keeper started the helper with the capability for it. Look-ups name the
/// workspace's descriptor anyway; this takes the rest of the host's tree out of sight.
fn confine_root(workspace: &OwnedFd) -> nix::Result<()> {
    nix::unistd::fchdir(workspace)?;
    match nix::unistd::chroot(".") {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A Landlock domain with the workspace in it and nothing else, where the kernel has Landlock.
fn restrict_files(workspace: &OwnedFd) -> nix::Result<()> {
    let abi = ABI::from(sys::landlock_abi().min(7));
    if abi < ABI::V2 {
        return Ok(());
    }
    let all = AccessFs::from_all(abi);
    let granted = all & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rule(PathBeneath::new(workspace.as_fd(), granted)))
        .and_then(landlock::RulesetCreated::restrict_self);
    match status {
        Ok(_) => Ok(()),
        Err(_refused) => Err(Errno::EOPNOTSUPP),
    }
}

/// One request after the other until the daemon hangs up.
fn serve(stream: &mut Stream, workspace: &Workspace) -> Result<(), Gone> {
    stream.send(&FileReply::Ready)?;
    while let Some(request) = stream.receive()? {
        match request {
            FileRequest::Put { path, size, mode } => {
                store::put(stream, workspace, &store::Incoming { path, size, mode })?;
            }
            // A part of a file without a `Put` before it: the daemon is not ours.
            FileRequest::Data(_) => return Err(Gone),
            FileRequest::Mkdir { path } => {
                let made = workspace.make_directory(&path);
                stream.answer(made)?;
            }
            FileRequest::Remove { path } => {
                let removed = workspace.remove(&path);
                stream.answer(removed)?;
            }
            FileRequest::Collect { patterns, limits } => {
                collect::collect(stream, workspace, &patterns, limits)?;
            }
            FileRequest::Get { path, max_bytes } => collect::get(stream, workspace, &path, max_bytes)?,
            FileRequest::List { path, max_entries } => {
                collect::list(stream, workspace, path.as_ref(), max_entries)?;
            }
            FileRequest::Stat { path } => collect::stat(stream, workspace, &path)?,
        }
    }
    Ok(())
}
