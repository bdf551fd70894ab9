//! A helper process that is started again when it dies: the engine broker.
//!
//! ```text
//!  keeper or `brig run` ──exec──▶ watcher (confined, single-threaded) ──fork──▶ worker ── dies ──▶ the next worker …
//!                                   └───────────── one end of the daemon's socket, shared ────────────┘
//! ```
//!
//! The watcher does nothing but wait. It was confined before its first fork, so every worker is, and it executes no
//! program: nobody has to keep the right to start one.

use crate::sys::parent as sys;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A worker that lived so long did not die of what it found at its start.
const LIVED: Duration = Duration::from_secs(60);

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// With this exit status; 0 is the end of all work.
    Exited(i32),
    /// Killed by this signal.
    Killed(i32),
}

impl std::fmt::Display for WorkerEnd {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WorkerEnd::Exited(status) => write!(out, "ended with status {status}"),
            WorkerEnd::Killed(signal) => write!(out, "was killed by signal {signal}"),
        }
    }
}

/// What the helper does.
pub trait Helper {
    /// The work, in a process of its own, until the daemon closes the other end of `socket`. Gives the exit status.
    fn work(&self, socket: OwnedFd) -> u8;
    /// A worker died, and the next one is about to be started: whoever waits for answers should know.
    fn died(&self, end: WorkerEnd, socket: &OwnedFd);
}

/// Works until a worker ends by itself. Signals to stop are for the daemon to answer: the work ends when it has closed
/// its end.
///
/// # Errors
/// The process has threads, or none can be forked.
pub fn keep_working(socket: &OwnedFd, helper: &dyn Helper) -> io::Result<()> {
    if sys::thread_count() != 1 {
        return Err(io::Error::other(
            "only a single-threaded process can fork its workers",
        ));
    }
    let stop: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
        .into_iter()
        .collect();
    stop.thread_block()?;
    let mut pause = Pause::default();
    loop {
        let begun = Instant::now();
        let end = wait_for(start(socket, helper)?)?;
        if end == WorkerEnd::Exited(0) {
            return Ok(());
        }
        helper.died(end, socket);
        wait_at_most(pause.next(begun.elapsed()), socket);
        // Requests to the dead one. Whoever sent them is told by the next one's first word.
        forget_requests(socket);
    }
}

fn start(socket: &OwnedFd, helper: &dyn Helper) -> io::Result<Pid> {
    let own = socket.try_clone()?;
    match sys::fork_single_threaded()? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => sys::exit_now(i32::from(helper.work(own))),
    }
}

fn wait_for(worker: Pid) -> io::Result<WorkerEnd> {
    loop {
        match waitpid(worker, None) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(WorkerEnd::Exited(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(WorkerEnd::Killed(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits, or until the daemon is gone: what is left then has to be removed at once.
fn wait_at_most(time: Duration, socket: &OwnedFd) {
    let millis = u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
    // No event is asked for: only the hang-up, which is always told, ends the wait.
    let mut closed = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    poll(&mut closed, PollTimeout::from(millis)).ok();
}

fn forget_requests(socket: &OwnedFd) {
    let mut record = [0; 1];
    loop {
        match sys::receive_record(socket.as_fd(), &mut record, 1) {
            Ok((0, _)) => return,
            // Longer than the buffer, as every one is: it is gone all the same.
            Ok(_) | Err(Errno::EMSGSIZE | Errno::EINTR) => {}
            Err(_none_or_closed) => return,
        }
    }
}

/// Twice as long after every worker that died young.
#[derive(Debug, Default)]
struct Pause {
    last: Option<Duration>,
}

impl Pause {
    fn next(&mut self, lived: Duration) -> Duration {
        let longer = |last: Duration| (last * 2).min(PAUSE_MAX);
        let pause = self.last.filter(|_| lived < LIVED).map_or(PAUSE_MIN, longer);
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordSocket;

    #[test]
    fn workers_that_die_young_are_started_ever_more_slowly_and_old_ones_at_once() {
        let mut pause = Pause::default();
        let young: Vec<u128> = (0..9).map(|_| pause.next(Duration::ZERO).as_millis()).collect();
        assert_eq!(young, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(pause.next(LIVED), PAUSE_MIN);
    }

    #[test]
    fn requests_to_a_dead_worker_are_forgotten_and_later_ones_are_not() {
        let (ours, theirs) = RecordSocket::pair().unwrap();
        let socket = theirs.into_inner();
        for _ in 0..5 {
            ours.send(b"a request to a dead worker", &[]).unwrap();
        }
        forget_requests(&socket);
        ours.send(b"a later one", &[]).unwrap();
        let (record, _) = RecordSocket::new(socket).receive(100, 0).unwrap();
        assert_eq!(record, b"a later one");
    }

    #[test]
    fn the_pause_ends_when_the_daemon_is_gone() {
        let (ours, theirs) = RecordSocket::pair().unwrap();
        drop(ours);
        let begun = Instant::now();
        wait_at_most(PAUSE_MAX, &theirs.into_inner());
        assert!(begun.elapsed() < PAUSE_MAX / 2);
    }
}
