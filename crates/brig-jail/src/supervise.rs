//! PID 1 while the program runs: reaps, keeps time, listens to the keeper, and ends the cell.
//!
//! Nothing here waits for the cell: every read and write is on descriptors that the cell does not have, signals
//! that a program sends to PID 1 do nothing, and reaping is bounded per turn.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::time::{TimeSpec, TimeVal, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::Pid;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::control::{FromInit, KilledBy, TO_INIT_BYTES, ToInit};
use crate::sys::child::reap_one;

/// What PID 1 looks after.
#[derive(Debug)]
pub(crate) struct Supervised {
    /// The stub, which becomes the program.
    pub(crate) main: Pid,
}

/// So many children are reaped before the timers and the keeper are looked at again.
const REAPED_PER_TURN: usize = 64;

/// How often everything that is left is killed again, and for how long it is waited for. A process that cannot
/// die (a kernel wait) would otherwise hold up the report; it dies with the namespace at the latest.
const KILL_AGAIN: Duration = Duration::from_millis(20);
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// PID 1 learns about its children from a descriptor. Called before the first child exists.
pub(crate) fn block_child_signal() -> nix::Result<()> {
    child_signal().thread_block()
}

fn child_signal() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set
}

/// Runs until the main process has ended or the cell has to. The result is PID 1's exit code.
pub(crate) fn run(control: &OwnedFd, supervised: Supervised) -> u8 {
    let outcome = Supervisor::new(control, supervised).and_then(Supervisor::watch);
    match outcome {
        Ok(Ending::Reported) => 0,
        Ok(Ending::KeeperGone) => 1,
        // Without its timers PID 1 cannot keep its promise: exit, and the kernel kills the namespace.
        Err(_errno) => 3,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Reported,
    KeeperGone,
}

/// What the keeper said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Record(ToInit),
    Nothing,
    Gone,
}

struct Supervisor<'a> {
    control: &'a OwnedFd,
    main: Pid,
    signals: SignalFd,
    wall: TimerFd,
    lease: TimerFd,
    main_status: Option<i32>,
    killed_by: KilledBy,
    leftovers: u32,
    nobody_left: bool,
}

impl<'a> Supervisor<'a> {
    fn new(control: &'a OwnedFd, supervised: Supervised) -> nix::Result<Self> {
        let timer = || {
            TimerFd::new(
                ClockId::CLOCK_BOOTTIME,
                TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
            )
        };
        Ok(Supervisor {
            control,
            main: supervised.main,
            signals: SignalFd::with_flags(&child_signal(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
            wall: timer()?,
            lease: timer()?,
            main_status: None,
            killed_by: KilledBy::Nobody,
            leftovers: 0,
            nobody_left: false,
        })
    }

    /// The story: while the main process lives, wait for whatever comes first; then end everything and tell.
    fn watch(mut self) -> nix::Result<Ending> {
        // The stub may have died before the descriptor existed.
        let mut more = self.reap();
        while self.main_status.is_none() && self.killed_by == KilledBy::Nobody {
            let timeout = if more {
                PollTimeout::ZERO
            } else {
                PollTimeout::NONE
            };
            let ready = self.wait(timeout)?;
            if ready.lease {
                self.killed_by = KilledBy::Lease;
            }
            if ready.wall {
                self.killed_by = KilledBy::WallTime;
            }
            if ready.control {
                match self.hear() {
                    Heard::Record(record) => self.obey(record)?,
                    Heard::Nothing => {}
                    Heard::Gone => return Ok(Ending::KeeperGone),
                }
            }
            if ready.signal || more {
                more = self.reap();
            }
        }
        self.end_everything()
    }

    fn obey(&mut self, record: ToInit) -> nix::Result<()> {
        match record {
            ToInit::Start {
                wall_nanos,
                lease_until_nanos,
            } => {
                arm(&self.wall, wall_nanos, TimerSetTimeFlags::empty())?;
                arm(
                    &self.lease,
                    lease_until_nanos,
                    TimerSetTimeFlags::TFD_TIMER_ABSTIME,
                )
            }
            ToInit::Renew { lease_until_nanos } => arm(
                &self.lease,
                lease_until_nanos,
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            ),
            ToInit::Kill => {
                self.killed_by = KilledBy::Keeper;
                Ok(())
            }
        }
    }

    fn hear(&self) -> Heard {
        let mut buffer = [0; TO_INIT_BYTES];
        match recv(self.control.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Heard::Gone,
            // A record that cannot be read comes from a keeper that is not ours: end the cell.
            Ok(length) => ToInit::decode(&buffer[..length]).map_or(Heard::Gone, Heard::Record),
            Err(Errno::EAGAIN | Errno::EINTR) => Heard::Nothing,
            Err(_broken) => Heard::Gone,
        }
    }

    /// Reaps what has ended, at most so many. True: there may be more.
    fn reap(&mut self) -> bool {
        // At most one can be pending. Not read until empty: where Landlock has no scope for signals, a program can
        // send new ones for ever.
        self.signals.read_signal().ok();
        for _ in 0..REAPED_PER_TURN {
            match reap_one() {
                Ok(Some((pid, status))) => self.note(pid, status),
                Ok(None) => return false,
                Err(_no_child) => {
                    self.nobody_left = true;
                    return false;
                }
            }
        }
        true
    }

    fn note(&mut self, pid: i32, status: i32) {
        if pid == self.main.as_raw() {
            self.main_status = Some(status);
        } else if self.main_status.is_some() && killed(status) {
            // It lived until our SIGKILL, so it outlived the main process.
            self.leftovers = self.leftovers.saturating_add(1);
        }
    }

    /// One SIGKILL for everything in the namespace but PID 1 itself is atomic against forks. It is repeated all
    /// the same, until no child is left.
    fn end_everything(mut self) -> nix::Result<Ending> {
        let begun = Instant::now();
        let mut killed_at: Option<Instant> = None;
        let timeout = PollTimeout::try_from(KILL_AGAIN).map_err(|_too_long| Errno::EINVAL)?;
        while begun.elapsed() < KILL_PATIENCE {
            if killed_at.is_none_or(|at| at.elapsed() >= KILL_AGAIN) {
                match kill(self.everything(), Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno),
                }
                killed_at = Some(Instant::now());
            }
            let more = self.reap();
            if self.nobody_left {
                break;
            }
            let ready = self.wait(if more { PollTimeout::ZERO } else { timeout })?;
            if ready.control && self.hear() == Heard::Gone {
                return Ok(Ending::KeeperGone);
            }
        }
        self.report()
    }

    /// Everything in the pid namespace. A control arm without one must not kill what else runs under the same id:
    /// there it is the main process's group.
    fn everything(&self) -> Pid {
        if nix::unistd::getpid().as_raw() == 1 {
            Pid::from_raw(-1)
        } else {
            Pid::from_raw(-self.main.as_raw())
        }
    }

    fn report(&self) -> nix::Result<Ending> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let by_us = self.killed_by != KilledBy::Nobody;
        let record = FromInit::Ended {
            wait_status: self.main_status.unwrap_or(libc::SIGKILL),
            cpu_nanos: nanos(usage.user_time()).saturating_add(nanos(usage.system_time())),
            max_rss_bytes: u64::try_from(usage.max_rss()).unwrap_or(0).saturating_mul(1024),
            leftovers: if by_us { 0 } else { self.leftovers },
            killed_by: self.killed_by,
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.control.as_raw_fd(), &record.encode(), flags) {
            Ok(_) => Ok(Ending::Reported),
            // A keeper that does not read: the end of this process tells it the rest.
            Err(_full_or_gone) => Ok(Ending::KeeperGone),
        }
    }

    fn wait(&self, timeout: PollTimeout) -> nix::Result<Ready> {
        let mut watched = [
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wall.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.lease.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let [control, signal, wall, lease] = watched.map(|one| one.any().unwrap_or(true));
        Ok(Ready {
            control,
            signal,
            wall,
            lease,
        })
    }
}

#[expect(clippy::struct_excessive_bools, reason = "one per watched descriptor")]
struct Ready {
    control: bool,
    signal: bool,
    wall: bool,
    lease: bool,
}

/// Whether a raw wait status says "killed by SIGKILL".
fn killed(status: i32) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
}

fn arm(timer: &TimerFd, nanos: u64, how: TimerSetTimeFlags) -> nix::Result<()> {
    if nanos == 0 {
        return timer.unset();
    }
    let expiration = Expiration::OneShot(TimeSpec::from_duration(Duration::from_nanos(nanos)));
    timer.set(expiration, how)
}

fn nanos(time: TimeVal) -> u64 {
    u64::try_from(time.num_microseconds())
        .unwrap_or(0)
        .saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sigkill_counts_as_killed() {
        assert!(killed(libc::SIGKILL));
        assert!(!killed(libc::SIGTERM));
        assert!(!killed(libc::SIGKILL << 8));
    }

    #[test]
    fn times_of_the_kernel_become_nanoseconds() {
        assert_eq!(nanos(TimeVal::new(2, 5)), 2_000_005_000);
    }
}
