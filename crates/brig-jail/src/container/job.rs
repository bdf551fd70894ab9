//! The one job of a container: its process, its deadlines, its end.
//!
//! ```text
//!  Running ──main ended, wall, lease──▶ Killing ──nobody left──▶ Draining ──pipes read──▶ Over
//! ```

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::{Pid, pipe2, read, write};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::wire::{Ended, Killed, Main, Posture, Start};
use crate::boot_time::now_nanos;
use crate::child::{self, Channels, Limits, ProgramLimits, Step, at};
use crate::stage::{SETUP_FAILURE_BYTES, SetupFailure, Stage};
use crate::sys::child as sys;
use crate::sys::parent::exit_now;

/// How often everything that is left is killed again, and for how long it is waited for: a process that cannot die (a
/// kernel wait) would otherwise hold up the report. It dies with the container at the latest.
const KILL_AGAIN: Duration = Duration::from_millis(20);
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// While deadlines run, the clock is looked at no less often than this: the kernel's own wait does not count the time
/// that a machine sleeps, and the deadlines do.
const GLANCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The main process lives.
    Running,
    /// Everything is being killed.
    Killing {
        /// Since when.
        begun: u64,
        /// When next.
        again: u64,
    },
    /// Nothing lives; what it wrote is being read.
    Draining,
    /// It has been told.
    Over,
}

/// A job that was started.
pub(super) struct Job {
    main: Pid,
    pub(super) phase: Phase,
    started: u64,
    wall_at: Option<u64>,
    lease_at: Option<u64>,
    status: Option<i32>,
    main_ended: Option<u64>,
    killed: Killed,
    leftovers: u32,
    cpu_before: u64,
}

/// The moment that is `nanos` after `now`; 0: never.
fn deadline(now: u64, nanos: u64) -> Option<u64> {
    (nanos > 0).then(|| now.saturating_add(nanos))
}

impl Job {
    /// Forks the stub and waits until it is ready for its specification. `arrived` is when the order came.
    pub(super) fn start(start: &Start, arrived: u64, posture: Posture) -> Step<(Job, [OwnedFd; 5])> {
        let channels = Channels::open()?;
        let failed = at(Stage::Clone, 11);
        let (report, stub_report) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(&failed)?;
        let cpu_before = cpu_of_children();
        match sys::fork().map_err(&failed)? {
            sys::Side::Child => {
                drop(channels.daemon);
                let code = match lock_down(start, posture) {
                    Ok(()) => {
                        write(&stub_report, b"!").ok();
                        drop(stub_report);
                        child::wait_and_execute(channels.program)
                    }
                    Err(failure) => {
                        write(&stub_report, &failure.encode()).ok();
                        crate::control::STUB_GAVE_UP
                    }
                };
                exit_now(code.into())
            }
            sys::Side::Parent(main) => {
                drop(stub_report);
                read_report(&report)?;
                let job = Job {
                    main,
                    phase: Phase::Running,
                    started: arrived,
                    wall_at: deadline(arrived, start.wall_nanos),
                    lease_at: deadline(arrived, start.lease_nanos),
                    status: None,
                    main_ended: None,
                    killed: Killed::No,
                    leftovers: 0,
                    cpu_before,
                };
                Ok((job, channels.daemon))
            }
        }
    }

    pub(super) fn renew(&mut self, lease_nanos: u64) {
        self.lease_at = deadline(now_nanos(), lease_nanos);
    }

    /// A child of PID 1 has ended.
    pub(super) fn note(&mut self, pid: i32, status: i32) {
        if pid == self.main.as_raw() {
            self.status = Some(status);
            self.main_ended = Some(now_nanos());
        } else if self.status.is_some() && is_killed(status) {
            // It lived until our SIGKILL, so it outlived the main process.
            self.leftovers = self.leftovers.saturating_add(1);
        }
    }

    /// What is due. Whoever ended before its deadline was looked at was not killed by it.
    pub(super) fn advance(&mut self, nobody_left: bool) -> nix::Result<()> {
        let now = now_nanos();
        if self.phase == Phase::Running {
            let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now);
            self.killed = match (self.status, is_due(self.wall_at), is_due(self.lease_at)) {
                (Some(_), _, _) => Killed::No,
                (None, true, _) => Killed::Wall,
                (None, false, true) => Killed::Lease,
                (None, false, false) => return Ok(()),
            };
            self.phase = Phase::Killing {
                begun: now,
                again: now,
            };
        }
        if let Phase::Killing { begun, again } = self.phase {
            // Also where nobody seems to be left: it costs nothing, and then it is certain.
            let hit = now >= again && kill_everything()?;
            if (nobody_left && !hit) || now.saturating_sub(begun) >= nanos(KILL_PATIENCE) {
                self.phase = Phase::Draining;
            } else if now >= again {
                self.phase = Phase::Killing {
                    begun,
                    again: now.saturating_add(nanos(KILL_AGAIN)),
                };
            }
        }
        Ok(())
    }

    /// For how long nothing is due. `None`: nothing is, ever.
    pub(super) fn patience(&self) -> Option<Duration> {
        let now = now_nanos();
        let left = |at: u64| Duration::from_nanos(at.saturating_sub(now));
        match self.phase {
            Phase::Running => {
                let next = [self.wall_at, self.lease_at].into_iter().flatten().min();
                next.map(|at| left(at).min(GLANCE))
            }
            Phase::Killing { again, .. } => Some(left(again)),
            Phase::Draining | Phase::Over => None,
        }
    }

    /// The last word, once everything that was written has been read.
    pub(super) fn finish(&mut self) -> Ended {
        self.phase = Phase::Over;
        let main = match self.status {
            Some(status) if libc::WIFEXITED(status) => {
                Main::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
            }
            Some(status) if libc::WIFSIGNALED(status) => {
                u8::try_from(libc::WTERMSIG(status)).map_or(Main::Unknown, Main::Signalled)
            }
            Some(_) | None => Main::Unknown,
        };
        let ended = self.main_ended.unwrap_or_else(now_nanos);
        Ended {
            main,
            killed: self.killed,
            wall_nanos: ended.saturating_sub(self.started),
            cpu_nanos: cpu_of_children().saturating_sub(self.cpu_before),
            // What was alive when a deadline came was not left over by a main process.
            leftovers_killed: if self.killed == Killed::No {
                self.leftovers
            } else {
                0
            },
        }
    }
}

/// The stub's own stages. It has nothing to give up but what the container left it.
fn lock_down(start: &Start, posture: Posture) -> Step<()> {
    child::own_session()?;
    if posture.program_first_out {
        first_out().map_err(at(Stage::Rlimit, 3))?;
    }
    let limits = ProgramLimits {
        file_size_bytes: start.file_size_bytes,
        open_files: start.open_files,
        // All containers have the same uid in the same user namespace: the kernel would count all of them together.
        processes: None,
        process_memory_bytes: None,
        cpu_seconds: (start.cpu_nanos > 0).then(|| (start.cpu_nanos / 1_000_000_000).saturating_add(1)),
    };
    child::apply_limits(&limits, Limits::Others)?;
    child::apply_limits(&limits, Limits::OpenFiles)
}

/// When memory runs out the program goes, and not PID 1. The file belongs to root while its process may not be looked
/// into; nothing that could look runs yet.
fn first_out() -> nix::Result<()> {
    prctl::set_dumpable(true)?;
    let written = OpenOptions::new()
        .write(true)
        .open("/proc/self/oom_score_adj")
        .and_then(|mut file| file.write_all(b"1000"));
    prctl::set_dumpable(false)?;
    written.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// One byte: ready. A failure: that. The end: it died without a word.
fn read_report(report: &OwnedFd) -> Step<()> {
    let mut buffer = [0; SETUP_FAILURE_BYTES];
    let length = loop {
        match read(report, &mut buffer) {
            Err(Errno::EINTR) => {}
            other => break other.map_err(at(Stage::Clone, 12))?,
        }
    };
    match length {
        1 => Ok(()),
        SETUP_FAILURE_BYTES => {
            Err(SetupFailure::decode(buffer).unwrap_or_else(|| at(Stage::Clone, 13)(Errno::EPROTO)))
        }
        _ => Err(at(Stage::Clone, 13)(Errno::EPIPE)),
    }
}

/// Everything in the pid namespace but PID 1, which is the caller. One call is atomic against forks; it is repeated all
/// the same. Says whether there was anybody. Whoever is not the first process of a pid namespace kills nobody: it would
/// be everybody on the machine that has the caller's uid.
pub(super) fn kill_everything() -> nix::Result<bool> {
    if nix::unistd::getpid().as_raw() != 1 {
        return Ok(false);
    }
    match kill(Pid::from_raw(-1), Signal::SIGKILL) {
        Ok(()) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn cpu_of_children() -> u64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        u64::try_from(micros).unwrap_or(0).saturating_mul(1000)
    })
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn is_killed(status: i32) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
}
