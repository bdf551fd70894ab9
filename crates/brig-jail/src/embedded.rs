//! Starting the processes around the keeper: the keeper itself as a child (embedded runs), the daemon as the
//! keeper's child (`serve`), and the sealed copy of `brig-jail-init` that every cell executes.

use crate::client::{KeeperLink, keeper_socketpair};
use crate::record::RecordSocket;
use crate::sys::parent as sys;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::SigSet;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Starts `program args…` as the keeper of this process; it finds its end of the socket with
/// [`take_inherited_socket`]. The keeper ends when the returned link is dropped.
pub fn spawn_keeper<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
) -> io::Result<(KeeperLink, Child)> {
    let (keeper_end, daemon_end) = keeper_socketpair()?;
    let child = spawn_with_socket(program, args, keeper_end)?;
    Ok((KeeperLink::new(daemon_end), child))
}

/// Starts `program args…` as the engine broker of this process; it finds its end of the socket with
/// [`take_inherited_socket`], and ends when the returned one is closed.
pub fn spawn_broker<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
) -> io::Result<(OwnedFd, Child)> {
    let (broker_end, daemon_end) = RecordSocket::pair()?;
    let child = spawn_with_socket(program, args, broker_end.into_inner())?;
    Ok((daemon_end.into_inner(), child))
}

/// Variables that keeper and daemon get. The rest of an operator's environment may hold secrets that are no business of
/// theirs.
fn is_ours_to_know(name: &OsStr) -> bool {
    const NAMES: [&str; 9] = [
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "TERM",
        "NO_COLOR",
        "TMPDIR",
        "RUST_LOG",
        "RUST_BACKTRACE",
    ];
    const PREFIXES: [&str; 3] = ["BRIG_", "XDG_", "LC_"];
    let Some(name) = name.to_str() else { return false };
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Starts a process of ours with the socket as its standard input: the one descriptor that can be handed over
/// without code between fork and exec, so this is right in a threaded process too.
///
/// It gets a process group of its own: a Ctrl-C on the terminal reaches the first process alone, which tells
/// the other in the order that it wants.
pub(crate) fn spawn_with_socket<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
    socket: OwnedFd,
) -> io::Result<Child> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where Brig starts its own processes"
    )]
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_ours_to_know(name)))
        .args(args)
        .arg0("brig")
        .stdin(Stdio::from(socket))
        .process_group(0)
        .spawn()
}

/// Closes what a careless parent left open in this process, beside the standard descriptors: neither the keeper nor what it
/// starts shall hold a file that it did not open. Only for the first lines of a program, which owns none yet.
pub fn close_inherited_descriptors() -> io::Result<()> {
    Ok(sys::close_from(3)?)
}

/// The socket that the process which started this one left on standard input; standard input is `/dev/null` afterwards.
pub fn take_inherited_socket() -> io::Result<OwnedFd> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let null = File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    // The keeper starts the daemon with its own signals blocked, and a mask is inherited.
    SigSet::empty().thread_set_mask()?;
    Ok(socket)
}

/// Puts `brig-jail-init` into a memory file that nobody can change any more.
pub fn seal_init(image: &[u8]) -> io::Result<OwnedFd> {
    seal(sys::executable_memfd(c"brig-jail-init")?, image)
}

/// The same for data.
pub(crate) fn seal_data(name: &CStr, data: &[u8]) -> io::Result<OwnedFd> {
    seal(
        memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?,
        data,
    )
}

fn seal(memfd: OwnedFd, content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd);
    file.write_all(content)?;
    // Readers of a descriptor that is passed on share its position.
    file.rewind()?;
    let memfd = OwnedFd::from(file);
    let seals =
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    fcntl(&memfd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(memfd)
}

/// Runs a helper of the system to its end, without terminal or output.
pub(crate) fn run_quietly<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
) -> io::Result<ExitStatus> {
    #[expect(
        clippy::disallowed_methods,
        reason = "newuidmap and newgidmap, before any cell exists"
    )]
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
}
