//! Raw facts that a backend observed about the end of a program. They come from the kernel or the engine,
//! never from the program itself.

use crate::limits::Limits;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the kernel sends to a process at its own CPU limit.
pub(crate) const SIGXCPU: u8 = 24;

/// How the main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MainExit {
    /// By itself.
    Exited(u8),
    /// By this signal.
    Signalled(u8),
    /// Not observed: everything was killed at once from outside.
    Unknown,
}

/// Why we killed the job. The first cause wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillCause {
    /// Cancelled.
    Cancelled,
    /// Too much output was produced.
    OutputLimit,
    /// Wall-clock limit.
    WallTime,
    /// CPU-time limit.
    CpuTime,
    /// The lease was lost, or the daemon gave the cell up: our fault, not a verdict.
    Abandoned,
}

/// A system call that was refused, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCall {
    /// Its name; `syscall_N` for a number without one.
    pub name: String,
    /// How often, saturating.
    pub count: u32,
}

/// Everything observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitFacts {
    /// The main process.
    pub main: MainExit,
    /// Why we killed the job, if we did.
    pub killed: Option<KillCause>,
    /// From start to the last process gone, monotonic.
    pub wall: Duration,
    /// CPU time of all processes.
    pub cpu: Duration,
    /// Highest memory use in bytes; `None` where nothing counts it.
    pub memory_peak: Option<u64>,
    /// Most processes at once; `None` where nothing counts them.
    pub processes_peak: Option<u32>,
    /// Processes killed by the memory limit.
    pub oom_kills: u32,
    /// Forks refused by the process limit.
    pub forks_refused: u32,
    /// Processes that outlived the main one and were killed.
    pub leftovers_killed: u32,
    /// Refused system calls.
    pub refused_calls: Vec<RefusedCall>,
    /// Some refusals went uncounted.
    pub refused_truncated: bool,
}

impl ExitFacts {
    /// Whether the kernel itself ended the main process at the CPU limit: so it is where no control group counts
    /// for the whole cell. The signal alone proves nothing, a program can send it to itself.
    #[must_use]
    pub fn signalled_at_cpu_limit(&self, limits: &Limits) -> bool {
        self.main == MainExit::Signalled(SIGXCPU) && self.cpu >= limits.cpu_time
    }

    /// A clean exit with `code` and nothing else to tell.
    #[must_use]
    pub fn exited(code: u8) -> Self {
        Self {
            main: MainExit::Exited(code),
            killed: None,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            memory_peak: None,
            processes_peak: None,
            oom_kills: 0,
            forks_refused: 0,
            leftovers_killed: 0,
            refused_calls: Vec::new(),
            refused_truncated: false,
        }
    }
}
