//! The keeper's two ways to live: as the child of an embedded run, and as the first process of `brig serve`.

use super::event_loop::{Keeper, block_signals};
use super::host::Host;
use super::{ExitReason, KeeperConfig, KeeperError, power};
use crate::client::{HAND_OVER, keeper_socketpair};
use crate::embedded::spawn_with_socket;
use crate::record::RecordSocket;
use crate::sys::parent as sys;
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Child;

/// What a keeper of `brig serve` starts: one file, with different words.
#[derive(Debug, Clone, Copy)]
pub struct Programs<'a> {
    /// The file.
    pub program: &'a Path,
    /// Words that make it the daemon.
    pub daemon: &'a [OsString],
    /// Words that make it the engine broker, where there is an engine.
    pub broker: Option<&'a [OsString]>,
}

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

/// Starts the daemon and works for it. The daemon takes its end with [`crate::client::KeeperLink::inherited`], and with it
/// that of the engine broker's socket, if one was started: beside the keeper and never asked by it.
pub fn serve(config: &KeeperConfig, programs: Programs<'_>) -> Result<ExitReason, KeeperError> {
    block_signals()?;
    sys::raise_descriptor_limit();
    power::narrow(config)?;
    // Before the daemon: a host that cannot do it at all should say so before anything listens.
    let host = open_host(config)?;
    let (keeper_end, daemon_end) = keeper_socketpair().map_err(KeeperError::StartDaemon)?;
    let Programs { program, daemon, .. } = programs;
    let broker = start_broker(programs, &keeper_end).map_err(KeeperError::StartBroker)?;
    let child = spawn_with_socket(program, daemon, daemon_end).map_err(KeeperError::StartDaemon)?;
    // After the daemon, which is no more important than others, and which starts with the rights that it needs to
    // bind its addresses.
    weigh_more();
    power::give_up(config, &host)?;
    let mut keeper = Keeper::new(config, host, keeper_end, pid_of(&child))?;
    keeper.broker = broker.as_ref().and_then(pid_of);
    keeper.work()
}

/// A pid that does not fit would be the kernel's error; Linux ends at 2^22.
fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).map(Pid::from_raw).ok()
}

/// The broker, and the first record to the daemon: the other end of the broker's socket, or nothing.
fn start_broker(programs: Programs<'_>, to_daemon: &OwnedFd) -> io::Result<Option<Child>> {
    let Some(words) = programs.broker else {
        sys::send_record(to_daemon.as_fd(), HAND_OVER, &[])?;
        return Ok(None);
    };
    let (broker_end, daemon_end) = RecordSocket::pair()?;
    sys::send_record(to_daemon.as_fd(), HAND_OVER, &[daemon_end.as_raw_fd()])?;
    spawn_with_socket(programs.program, words, broker_end.into_inner()).map(Some)
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
