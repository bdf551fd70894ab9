//! One cell, as the keeper knows it.
//!
//! ```text
//!  Building ──Ready──▶ Idle ──Start──▶ Running
//!     │ (spare or opened)  │               │
//!     └────────────────────┴──── PID 1 reaped ───▶ Dead ──Release──▶ (forgotten)
//! ```

use super::clock::Moment;
use super::refusals::Refusals;
use crate::cgroup::CellGroups;
use crate::control::{FromInit, KilledBy, READY_DESCRIPTORS, ToInit};
use crate::launch::Launch;
use crate::plan::CellShape;
use crate::protocol::{CellLimits, CellNumber, ImageDigest, KillReason, Level, RequestNumber};
use crate::stage::SetupFailure;
use crate::sys::parent::{self as sys, Reaped};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::{AsFd, OwnedFd};

/// Longest set-up of a cell; a host so slow that this does not suffice cannot run jobs.
pub(super) const SETUP_NANOS: u64 = 10_000_000_000;

/// PID 1 enforces the wall limit too, this much later than the keeper, so that normally one of the two does the work.
/// With the time that a cell takes to die it stays below the half second that a program may be late.
const INIT_MARGIN_NANOS: u64 = 200_000_000;

/// How long a PID 1 without a control group may take to end its cell by itself.
const LAST_WORDS_NANOS: u64 = 250_000_000;

/// How long a PID 1 that told the end may live on. The kernel frees the cell's files while it ends.
const LAST_BREATH_NANOS: u64 = 2_000_000_000;

/// Whom a cell is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Kept ready.
    Spare,
    /// A request that waits for it.
    Request(RequestNumber),
    /// It belongs to the daemon.
    Opened,
    /// A throw-away cell: shows what the host gives.
    Probe(RequestNumber),
    /// Nobody wants it any more.
    Discarded,
}

/// What two cells must have in common to stand in for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CellKind {
    pub(super) image: ImageDigest,
    pub(super) shape: CellShape,
}

/// What PID 1 handed over when the jail was complete.
#[derive(Debug)]
pub(super) struct Ready {
    /// For the daemon: job, stdin, stdout, stderr, runner.
    pub(super) daemon: Vec<OwnedFd>,
    pub(super) landlock_abi: u8,
    pub(super) landlock_full: bool,
}

/// Descriptors that stay with the keeper until the cell is forgotten.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) workspace: OwnedFd,
    pub(super) user_namespace: OwnedFd,
    pub(super) landlock_abi: u8,
    pub(super) landlock_full: bool,
    pub(super) refusals_reported: bool,
}

/// Times of a program, clamped. None is 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) wall_nanos: u64,
    pub(super) cpu_nanos: u64,
    pub(super) lease_until: Moment,
}

/// A program that runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) started: Moment,
    pub(super) wall_deadline: Moment,
    pub(super) lease_deadline: Moment,
    pub(super) cpu_limit: u64,
    pub(super) cpu_before: u64,
    pub(super) cpu_check: Option<Moment>,
}

/// An enter-helper that was started before anybody asked for it.
#[derive(Debug)]
pub(super) struct IdleHelper {
    pub(super) process: Pid,
    pub(super) socket: OwnedFd,
    pub(super) since: Moment,
}

/// Whether files of a cell were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FilesUse {
    NotYet,
    Used,
}

/// Where a cell is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    Building(Building),
    Idle,
    Running(Run),
    Dead,
}

/// How far the building of a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// PID 1 is being made.
    Cloning,
    /// It has forked the stub.
    Forked,
    /// The stub is being moved into the cell's groups: the kernel holds the lock of all groups meanwhile.
    Moving,
    /// PID 1 has its plan.
    Planned,
}

/// A cell that is not complete yet.
#[derive(Debug)]
pub(super) struct Building {
    pub(super) report: OwnedFd,
    pub(super) deadline: Moment,
    pub(super) progress: Progress,
    pub(super) failure: Option<SetupFailure>,
}

/// One cell.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) number: CellNumber,
    pub(super) kind: CellKind,
    pub(super) level: Level,
    /// The limits that its groups have.
    pub(super) limits: CellLimits,
    /// The limits that the request for it asks for.
    pub(super) wanted: CellLimits,
    pub(super) purpose: Purpose,
    pub(super) slot: u32,
    pub(super) groups: Option<CellGroups>,
    pub(super) phase: Phase,
    /// P, until it is reaped.
    pub(super) launcher: Option<Pid>,
    pub(super) control: OwnedFd,
    /// PID 1, until it is reaped.
    pub(super) init: Option<(Pid, OwnedFd)>,
    pub(super) class_raised: bool,
    pub(super) daemon_ends: Vec<OwnedFd>,
    /// When a cell that was handed over and not started is taken back.
    pub(super) idle_deadline: Option<Moment>,
    pub(super) kept: Option<Kept>,
    pub(super) listener: Option<OwnedFd>,
    pub(super) refusals: Refusals,
    /// Enter-helpers, until they are reaped.
    pub(super) helpers: Vec<Pid>,
    /// An enter-helper that waits for its first use.
    pub(super) idle_helper: Option<IdleHelper>,
    /// Whether the daemon asked for this cell's files.
    pub(super) files_used: FilesUse,
    pub(super) killed: Option<KillReason>,
    pub(super) ended: Option<FromInit>,
    pub(super) reaped: Option<Reaped>,
    /// Since when the cell is to be forgotten.
    pub(super) release: Option<Moment>,
    /// When to look again at something that was still busy.
    pub(super) retry: Option<Moment>,
    /// When a PID 1 that was told to end its cell is killed itself.
    pub(super) kill_init: Option<Moment>,
}

/// What a cell is made from.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) number: CellNumber,
    pub(super) kind: CellKind,
    pub(super) level: Level,
    pub(super) limits: CellLimits,
    pub(super) purpose: Purpose,
    pub(super) slot: u32,
    pub(super) groups: Option<CellGroups>,
}

impl Cell {
    pub(super) fn new(making: Making, launch: Launch) -> Cell {
        let building = Building {
            report: launch.report,
            deadline: Moment::now().plus(SETUP_NANOS),
            progress: Progress::Cloning,
            failure: None,
        };
        Cell {
            number: making.number,
            kind: making.kind,
            level: making.level,
            limits: making.limits,
            wanted: making.limits,
            purpose: making.purpose,
            slot: making.slot,
            groups: making.groups,
            phase: Phase::Building(building),
            launcher: Some(launch.helper),
            control: launch.control,
            init: None,
            class_raised: false,
            daemon_ends: Vec::new(),
            idle_deadline: None,
            kept: None,
            listener: None,
            refusals: Refusals::default(),
            helpers: Vec::new(),
            idle_helper: None,
            files_used: FilesUse::NotYet,
            killed: None,
            ended: None,
            reaped: None,
            release: None,
            retry: None,
            kill_init: None,
        }
    }

    /// Takes over what PID 1 sent with Ready. `false`: the descriptors are not what the record says.
    pub(super) fn complete(&mut self, ready: Ready, mut rest: Vec<OwnedFd>, listener: bool) -> bool {
        if ready.daemon.len() + rest.len() != READY_DESCRIPTORS + usize::from(listener) {
            return false;
        }
        self.listener = if listener { rest.pop() } else { None };
        let (Some(user_namespace), Some(workspace)) = (rest.pop(), rest.pop()) else {
            return false;
        };
        self.kept = Some(Kept {
            workspace,
            user_namespace,
            landlock_abi: ready.landlock_abi,
            landlock_full: ready.landlock_full,
            refusals_reported: listener,
        });
        // That was the last record with descriptors.
        sys::take_no_descriptors(self.control.as_fd());
        self.daemon_ends = ready.daemon;
        self.phase = Phase::Idle;
        true
    }

    /// The program starts: deadlines count from here.
    pub(super) fn start(&mut self, deadlines: Deadlines) {
        let Deadlines {
            wall_nanos,
            cpu_nanos,
            lease_until,
        } = deadlines;
        let now = Moment::now();
        let cpu_before = self.groups.as_ref().and_then(CellGroups::cpu_nanos).unwrap_or(0);
        let check = now.plus(self.soonest_use_of(cpu_nanos));
        self.phase = Phase::Running(Run {
            started: now,
            wall_deadline: now.plus(wall_nanos),
            lease_deadline: lease_until,
            cpu_limit: cpu_nanos,
            cpu_before,
            cpu_check: self.groups.is_some().then_some(check),
        });
        self.idle_deadline = None;
        self.tell(ToInit::Start {
            wall_nanos: wall_nanos.saturating_add(INIT_MARGIN_NANOS),
            lease_until_nanos: lease_until.nanos(),
        });
    }

    /// The shortest time in which the cell can use this much CPU time.
    fn soonest_use_of(&self, cpu_nanos: u64) -> u64 {
        const TOO_OFTEN: u64 = 1_000_000;
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let most = u64::try_from(processors).unwrap_or(1).saturating_mul(1_000);
        let millis = u64::from(self.limits.cpu_millis).min(most).max(1);
        (cpu_nanos / millis).saturating_mul(1_000).max(TOO_OFTEN)
    }

    /// CPU time of the program so far.
    pub(super) fn cpu_used(&self, run: &Run) -> u64 {
        let total = self.groups.as_ref().and_then(CellGroups::cpu_nanos).unwrap_or(0);
        total.saturating_sub(run.cpu_before)
    }

    /// Looks at the clocks; the reason to kill the cell, if one is due.
    pub(super) fn overdue(&mut self, now: Moment) -> Option<KillReason> {
        if self.killed.is_some() {
            return None;
        }
        let mut run = match self.phase {
            Phase::Running(run) => run,
            // Whoever opened it may have started a program without a word about it.
            Phase::Idle if self.idle_deadline.is_some_and(|deadline| deadline <= now) => {
                return Some(KillReason::Lease);
            }
            Phase::Idle | Phase::Building(_) | Phase::Dead => return None,
        };
        if run.wall_deadline <= now {
            return Some(KillReason::WallTime);
        }
        if run.lease_deadline <= now {
            return Some(KillReason::Lease);
        }
        if run.cpu_check.is_some_and(|check| check <= now) {
            let used = self.cpu_used(&run);
            if used >= run.cpu_limit {
                return Some(KillReason::CpuTime);
            }
            run.cpu_check = Some(now.plus(self.soonest_use_of(run.cpu_limit - used)));
            self.phase = Phase::Running(run);
        }
        None
    }

    /// The next moment at which the keeper has to look at this cell.
    pub(super) fn next_look(&self) -> Option<Moment> {
        let phase = match &self.phase {
            Phase::Building(building) if self.killed.is_none() => Some(building.deadline),
            Phase::Running(run) if self.killed.is_none() => {
                let fixed = run.wall_deadline.min(run.lease_deadline);
                Some(run.cpu_check.map_or(fixed, |check| check.min(fixed)))
            }
            Phase::Idle if self.killed.is_none() => self.idle_deadline,
            Phase::Building(_) | Phase::Idle | Phase::Running(_) | Phase::Dead => None,
        };
        [phase, self.retry, self.kill_init].into_iter().flatten().min()
    }

    pub(super) fn renew(&mut self, lease_until: Moment) {
        if let Phase::Running(run) = &mut self.phase {
            run.lease_deadline = lease_until;
            self.tell(ToInit::Renew {
                lease_until_nanos: lease_until.nanos(),
            });
        }
    }

    /// Sends a record to PID 1. One that is gone, or that does not read, is found out by other means: its death
    /// by the kernel's word, its deafness by the deadlines.
    fn tell(&self, record: ToInit) {
        sys::send_record(self.control.as_fd(), &record.encode(), &[]).ok();
    }

    /// Kills everything in the cell. The first reason stays.
    pub(super) fn kill(&mut self, reason: KillReason) {
        self.killed.get_or_insert(reason);
        let running = matches!(self.phase, Phase::Running(_));
        // Nobody judges a cell that was given up.
        let wanted = reason != KillReason::Abandoned;
        match &self.groups {
            // The group first: it takes every process at once, while the death of PID 1 alone would have to wait
            // for the scheduler to let it run beside what it is to kill.
            Some(groups) if groups.kill() => groups.hurry(),
            Some(_) => {}
            // Without a group only PID 1 can add up what its processes used, and only if it lives to reap them.
            None if running && wanted && self.kill_init.is_none() => {
                self.kill_init = Some(Moment::now().plus(LAST_WORDS_NANOS));
                return self.tell(ToInit::Kill);
            }
            None => {}
        }
        self.kill_first_process();
    }

    /// PID 1 has told the end: it has so long to end itself.
    pub(super) fn expect_end(&mut self) {
        self.kill_init
            .get_or_insert(Moment::now().plus(LAST_BREATH_NANOS));
    }

    /// Kills PID 1, and with it the pid namespace; or, before it has a name, who is cloning it.
    pub(super) fn kill_first_process(&mut self) {
        self.kill_init = None;
        if let Some((_, pidfd)) = &self.init {
            // ESRCH: already dead.
            sys::pidfd_kill(pidfd.as_fd()).ok();
        } else if let Some(launcher) = self.launcher {
            // Not reaped, so the pid is still P's. Its clone sees the end of P's pipe, or of the control socket.
            kill(launcher, Signal::SIGKILL).ok();
        }
    }

    /// Kills the enter-helpers: the cell is being forgotten.
    pub(super) fn kill_helpers(&self) {
        for helper in &self.helpers {
            kill(*helper, Signal::SIGKILL).ok();
        }
    }

    /// Whether a process of the cell itself is left (enter-helpers are not the program's).
    pub(super) fn is_populated(&self) -> bool {
        let Some(groups) = &self.groups else { return false };
        let own = |pid: &i32| !self.helpers.iter().any(|helper| helper.as_raw() == *pid);
        groups.processes().iter().any(own)
    }

    /// Raises the scheduling class of PID 1, when the cell gets its work: it was built without hurry, and has to run
    /// when it is to end the others.
    pub(super) fn raise_class(&mut self) {
        let raised = |(init, _): &(Pid, OwnedFd)| sys::set_nice_of(*init, sys::Urgency::High).is_ok();
        self.class_raised = self.init.as_ref().is_some_and(raised);
    }

    /// Whether its stub is just being moved between groups.
    pub(super) fn is_moving(&self) -> bool {
        matches!(&self.phase, Phase::Building(building) if building.progress == Progress::Moving)
    }

    /// Whether every process that the keeper started for this cell is reaped.
    pub(super) fn is_childless(&self) -> bool {
        self.launcher.is_none() && self.init.is_none() && self.helpers.is_empty()
    }

    /// Why the cell was killed: the keeper's reason, or what PID 1 did on its own clock.
    pub(super) fn kill_reason(&self) -> Option<KillReason> {
        let by_init = match self.ended {
            Some(FromInit::Ended {
                killed_by: KilledBy::WallTime,
                ..
            }) => Some(KillReason::WallTime),
            Some(FromInit::Ended {
                killed_by: KilledBy::Lease,
                ..
            }) => Some(KillReason::Lease),
            Some(_) | None => None,
        };
        self.killed.or(by_init)
    }
}
