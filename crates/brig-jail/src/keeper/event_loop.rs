//! The keeper's loop: one turn handles what is ready. Nothing in it waits for a cell or for the daemon.

use super::cell::{Cell, FilesUse};
use super::clock::Moment;
use super::host::Host;
use super::outbox::Outbox;
use super::{ExitReason, KeeperConfig, KeeperError};
use crate::protocol::{CellLimits, CellNumber, ImageDigest, Level, REQUEST_BYTES, Request};
use crate::sys::parent as sys;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// Events that one turn takes from the kernel.
const EVENTS_PER_TURN: usize = 64;

/// Requests that one turn takes from the daemon.
const REQUESTS_PER_TURN: usize = 16;

/// How long the keeper waits for its last cells to die before it gives them to the kernel.
const GOODBYE_NANOS: u64 = 5_000_000_000;

/// How long it waits for the engine broker after that: a container is removed in a fraction of a second, and an engine that
/// does not answer leaves it to the next broker.
const BROKER_GOODBYE_NANOS: u64 = 25_000_000_000;

/// What an event is about; with the cell's number it fits into the kernel's 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Source {
    Daemon = 0,
    Signals = 1,
    Timer = 2,
    Report = 3,
    Control = 4,
    Listener = 5,
}

const SOURCES: [Source; 6] = [
    Source::Daemon,
    Source::Signals,
    Source::Timer,
    Source::Report,
    Source::Control,
    Source::Listener,
];

/// Numbers of cells use the low bits; a keeper that makes a thousand cells a second needs two million years.
const SOURCE_SHIFT: u32 = 56;

fn token(source: Source, cell: CellNumber) -> u64 {
    (u64::from(source as u8) << SOURCE_SHIFT) | cell
}

fn untoken(token: u64) -> Option<(Source, CellNumber)> {
    let number = u8::try_from(token >> SOURCE_SHIFT).ok()?;
    let source = SOURCES.into_iter().find(|source| *source as u8 == number)?;
    Some((source, token & ((1 << SOURCE_SHIFT) - 1)))
}

/// The last request's wishes: the next spare is built for them.
pub(super) type Wishes = (ImageDigest, Level, CellLimits);

/// The keeper at work.
#[derive(Debug)]
pub(super) struct Keeper<'c> {
    pub(super) config: &'c KeeperConfig,
    pub(super) host: Host,
    epoll: Epoll,
    signals: SignalFd,
    timer: TimerFd,
    pub(super) outbox: Outbox,
    pub(super) cells: BTreeMap<CellNumber, Cell>,
    pub(super) next_number: CellNumber,
    pub(super) draining: bool,
    pub(super) wishes: Option<Wishes>,
    /// Whether the last job used files: the next spare gets a helper for them.
    pub(super) files_wanted: FilesUse,
    /// A spare could not be built: none is tried until a request succeeds, lest the keeper spins.
    pub(super) spares_paused: bool,
    daemon: Option<Pid>,
    /// The engine broker. It serves the daemon and ends after it; the keeper only waits for that.
    pub(super) broker: Option<Pid>,
    daemon_exit: Option<i32>,
    stop_signals: u32,
    exit: Option<ExitReason>,
}

fn failed(act: &'static str) -> impl Fn(Errno) -> KeeperError {
    move |errno| KeeperError::Loop {
        act,
        source: errno.into(),
    }
}

/// The signals that the keeper reads instead of being interrupted by them.
fn watched_signals() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
        .into_iter()
        .collect()
}

/// Blocks the watched signals. Before the daemon is started, so that its end cannot be missed.
pub(super) fn block_signals() -> Result<(), KeeperError> {
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&watched_signals()), None).map_err(failed("block signals"))
}

impl<'c> Keeper<'c> {
    pub(super) fn new(
        config: &'c KeeperConfig,
        host: Host,
        socket: OwnedFd,
        daemon: Option<Pid>,
    ) -> Result<Keeper<'c>, KeeperError> {
        let epoll =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed("make an epoll descriptor"))?;
        let signals =
            SignalFd::with_flags(&watched_signals(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
                .map_err(failed("make a signal descriptor"))?;
        let timer = TimerFd::new(
            ClockId::CLOCK_BOOTTIME,
            TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
        )
        .map_err(failed("make a timer descriptor"))?;
        let watch = |descriptor, source| {
            epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token(source, 0)))
        };
        // No request takes a descriptor, and to close one can take as long as its sender likes.
        sys::take_no_descriptors(socket.as_fd());
        watch(socket.as_fd(), Source::Daemon).map_err(failed("watch the daemon"))?;
        watch(signals.as_fd(), Source::Signals).map_err(failed("watch signals"))?;
        watch(timer.as_fd(), Source::Timer).map_err(failed("watch the timer"))?;
        Ok(Keeper {
            config,
            host,
            epoll,
            signals,
            timer,
            outbox: Outbox::new(socket),
            cells: BTreeMap::new(),
            next_number: 1,
            draining: false,
            wishes: config.prewarm,
            files_wanted: FilesUse::NotYet,
            spares_paused: false,
            daemon,
            broker: None,
            daemon_exit: None,
            stop_signals: 0,
            exit: None,
        })
    }

    /// Works until the daemon is gone or somebody stops the keeper, then ends every cell.
    pub(super) fn work(mut self) -> Result<ExitReason, KeeperError> {
        self.prewarm();
        let reason = loop {
            if let Some(reason) = self.exit {
                break reason;
            }
            self.turn()?;
        };
        let drained = self.draining && self.cells.is_empty();
        self.end_everything()?;
        Ok(match (reason, self.daemon_exit) {
            (ExitReason::DaemonGone(_), Some(0)) if drained => ExitReason::Drained,
            (ExitReason::DaemonGone(_), None) if drained && self.daemon.is_none() => ExitReason::Drained,
            (ExitReason::DaemonGone(_), code) => ExitReason::DaemonGone(code),
            (reason, _) => reason,
        })
    }

    /// One turn.
    fn turn(&mut self) -> Result<(), KeeperError> {
        self.arm_timer()?;
        let mut events = [EpollEvent::empty(); EVENTS_PER_TURN];
        let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(failed("wait for events")(errno)),
        };
        for event in events.iter().take(ready) {
            self.handle(*event);
        }
        self.look_at_clocks();
        self.flush();
        Ok(())
    }

    fn handle(&mut self, event: EpollEvent) {
        let Some((source, cell)) = untoken(event.data()) else {
            return;
        };
        // Nobody uses the filter any more. The event stays until the listener is gone: waiting for the cell's end
        // first would spin.
        if source == Source::Listener && event.events().contains(EpollFlags::EPOLLHUP) {
            return self.close_listener(cell);
        }
        match source {
            Source::Daemon => self.hear_daemon(),
            Source::Signals => self.hear_signals(),
            // Read away below; what is due is found by looking at the clocks, in every turn.
            Source::Timer => self.timer.wait().unwrap_or_default(),
            Source::Report => self.hear_report(cell),
            Source::Control => self.hear_init(cell),
            Source::Listener => self.hear_listener(cell),
        }
    }

    fn hear_daemon(&mut self) {
        for _ in 0..REQUESTS_PER_TURN {
            let mut record = [0; REQUEST_BYTES + 1];
            match sys::receive_record(self.outbox.socket(), &mut record, 1) {
                Ok((0, _)) => return self.daemon_is_gone(),
                // Descriptors from the daemon are closed unseen: no request takes one.
                Ok((length, _refused)) => {
                    match record.get(..length).and_then(Request::decode) {
                        Some(request) => self.carry_out(request),
                        // The daemon does not speak the protocol: it is broken or taken over.
                        None => return self.daemon_is_gone(),
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                Err(_broken) => return self.daemon_is_gone(),
            }
        }
    }

    fn daemon_is_gone(&mut self) {
        self.exit.get_or_insert(ExitReason::DaemonGone(None));
    }

    fn hear_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            if number == Signal::SIGTERM as i32 || number == Signal::SIGINT as i32 {
                self.stop();
            }
        }
        while let Ok(Some(reaped)) = sys::reap_any() {
            if Some(reaped.pid) == self.daemon {
                self.daemon_exit = Some(exit_code(reaped.status));
                self.daemon_is_gone();
            } else if Some(reaped.pid) == self.broker {
                self.broker = None;
            } else {
                self.child_is_reaped(reaped);
            }
        }
    }

    /// The first signal is the daemon's to answer (it drains); the second one stops at once. A keeper that is
    /// nobody's first process stops at once: who started it also watches it.
    fn stop(&mut self) {
        self.stop_signals += 1;
        match self.daemon {
            Some(daemon) if self.stop_signals == 1 => {
                nix::sys::signal::kill(daemon, Signal::SIGTERM).ok();
            }
            Some(_) | None => {
                self.exit.get_or_insert(ExitReason::Stopped);
            }
        }
    }

    fn arm_timer(&mut self) -> Result<(), KeeperError> {
        let next = self.cells.values().filter_map(Cell::next_look).min();
        let armed = match next {
            Some(moment) => {
                let wait = TimeSpec::from_duration(Moment::now().until(moment));
                self.timer
                    .set(Expiration::OneShot(wait), TimerSetTimeFlags::empty())
            }
            None => self.timer.unset(),
        };
        armed.map_err(failed("arm the timer"))
    }

    /// Sends what can be sent, and watches for room if something is left.
    fn flush(&mut self) {
        if self.outbox.flush().is_err() {
            self.daemon_is_gone();
        }
        let wanted = if self.outbox.is_empty() {
            EpollFlags::EPOLLIN
        } else {
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
        };
        if self.outbox.note_interest(wanted) {
            let mut event = EpollEvent::new(wanted, token(Source::Daemon, 0));
            // It can only fail for a descriptor that is not watched; the daemon's always is.
            self.epoll.modify(self.outbox.socket(), &mut event).ok();
        }
    }

    /// Watches a descriptor of a cell.
    pub(super) fn watch(&self, source: Source, cell: CellNumber, descriptor: &OwnedFd) -> nix::Result<()> {
        self.epoll.add(
            descriptor,
            EpollEvent::new(EpollFlags::EPOLLIN, token(source, cell)),
        )
    }

    /// No longer. Closing is not enough: a copy of the descriptor may live in a process that is being cloned.
    pub(super) fn unwatch(&self, descriptor: &OwnedFd) {
        self.epoll.delete(descriptor).ok();
    }

    /// Kills what is left and waits for it, within bounds.
    fn end_everything(&mut self) -> Result<(), KeeperError> {
        if let (Some(daemon), None, Some(ExitReason::Stopped)) = (self.daemon, self.daemon_exit, self.exit) {
            nix::sys::signal::kill(daemon, Signal::SIGKILL).ok();
        }
        // Nobody is there to hear more.
        self.unwatch_daemon();
        self.draining = true;
        let numbers: Vec<CellNumber> = self.cells.keys().copied().collect();
        for number in numbers {
            self.release(number);
        }
        self.wait_for_the_last()?;
        if let (Some(daemon), true) = (self.daemon, self.daemon_is_dying()) {
            // It closed its socket or broke the protocol, and lives: it shall not go on listening without a keeper.
            nix::sys::signal::kill(daemon, Signal::SIGKILL).ok();
            self.wait_for_the_last()?;
        }
        self.wait_for_the_broker()?;
        if let Some(broker) = self.broker.take() {
            // Its engine does not answer. It is the first of a process group: the worker goes with it.
            nix::sys::signal::killpg(broker, Signal::SIGKILL).ok();
        }
        if let Some(groups) = &self.host.cgroups {
            groups.remove();
        }
        Ok(())
    }

    /// Turns until cells and daemon are gone, at most for a while.
    fn wait_for_the_last(&mut self) -> Result<(), KeeperError> {
        let deadline = Moment::now().plus(GOODBYE_NANOS);
        while (!self.cells.is_empty() || self.daemon_is_dying()) && Moment::now() < deadline {
            self.turn_bounded()?;
        }
        Ok(())
    }

    /// It removes its containers once the daemon's end is closed. Who told the keeper to stop at once is not made to wait.
    fn wait_for_the_broker(&mut self) -> Result<(), KeeperError> {
        let patience = if self.exit == Some(ExitReason::Stopped) {
            GOODBYE_NANOS
        } else {
            BROKER_GOODBYE_NANOS
        };
        let deadline = Moment::now().plus(patience);
        while self.broker.is_some() && Moment::now() < deadline {
            self.turn_bounded()?;
        }
        Ok(())
    }

    /// The daemon closed its socket or was killed, and its exit status is not here yet.
    fn daemon_is_dying(&self) -> bool {
        self.daemon.is_some() && self.daemon_exit.is_none()
    }

    fn unwatch_daemon(&mut self) {
        self.epoll.delete(self.outbox.socket()).ok();
        self.outbox.close();
    }

    /// A turn that ends after at most some milliseconds, ready or not.
    fn turn_bounded(&mut self) -> Result<(), KeeperError> {
        const PATIENCE_MILLIS: u8 = 20;
        let mut events = [EpollEvent::empty(); EVENTS_PER_TURN];
        let ready = match self.epoll.wait(&mut events, EpollTimeout::from(PATIENCE_MILLIS)) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(failed("wait for events")(errno)),
        };
        for event in events.iter().take(ready) {
            self.handle(*event);
        }
        self.look_at_clocks();
        Ok(())
    }
}

/// As a shell would say it.
fn exit_code(status: i32) -> i32 {
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_and_number_survives_the_kernels_word() {
        for source in SOURCES {
            assert_eq!(untoken(token(source, 123_456)), Some((source, 123_456)));
        }
        assert_eq!(untoken(u64::MAX), None);
    }
}
