//! The keeper's two ways to live: as the child of an embedded run, and as the first process of `brig serve`.

use super::event_loop::{Keeper, block_signals};
use super::host::Host;
use super::{ExitReason, KeeperConfig, KeeperError, power};
use crate::client::keeper_socketpair;
use crate::embedded::spawn_with_socket;
use crate::sys::parent as sys;
use nix::unistd::Pid;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Works for the daemon at the other end of `socket` until that closes it. With `daemon`, its exit status decides
/// how the end is called, and SIGTERM is handed on to it.
///
/// The process must be single-threaded, and stays so.
pub fn run(config: &KeeperConfig, socket: OwnedFd, daemon: Option<Pid>) -> Result<ExitReason, KeeperError> {
    block_signals()?;
    sys::raise_descriptor_limit();
    power::narrow(config)?;
    let host = open_host(config)?;
    weigh_more();
    power::give_up(config, &host)?;
    Keeper::new(config, host, socket, daemon)?.work()
}

/// Starts `program args…` as the daemon and works for it. The daemon takes its end with
/// [`crate::client::KeeperLink::inherited`].
pub fn serve(config: &KeeperConfig, program: &Path, args: &[OsString]) -> Result<ExitReason, KeeperError> {
    block_signals()?;
    sys::raise_descriptor_limit();
    power::narrow(config)?;
    // Before the daemon: a host that cannot do it at all should say so before anything listens.
    let host = open_host(config)?;
    let (keeper_end, daemon_end) = keeper_socketpair().map_err(KeeperError::StartDaemon)?;
    let child = spawn_with_socket(program, args, daemon_end).map_err(KeeperError::StartDaemon)?;
    // A pid that does not fit would be the kernel's error; Linux ends at 2^22.
    let daemon = i32::try_from(child.id()).map(Pid::from_raw).ok();
    // After the daemon, which is no more important than others, and which starts with the rights that it needs to
    // bind its addresses.
    weigh_more();
    power::give_up(config, &host)?;
    Keeper::new(config, host, keeper_end, daemon)?.work()
}

/// The keeper's turns are short, and the deadlines of all cells depend on them. Where it may not, its turn comes
/// when it comes; PID 1 keeps the deadlines too.
fn weigh_more() {
    sys::set_nice(sys::Urgency::High).ok();
}

fn open_host(config: &KeeperConfig) -> Result<Host, KeeperError> {
    match sys::thread_count() {
        1 => Host::open(config),
        threads => Err(KeeperError::Threads(threads)),
    }
}
