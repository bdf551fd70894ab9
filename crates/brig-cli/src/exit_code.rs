//! What `brig` answers to the shell. Part of the interface: scripts rely on it.

use brig_core::outcome::Verdict;
use brig_core::store::JobResult;
use std::process::ExitCode;

/// Exit status of every command but `serve`, which has its own (`brig serve --help` lists them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command did what it was asked.
    Success,
    /// `doctor`: a required layer does not work here.
    NotFit,
    /// The command line was wrong.
    Usage,
    /// `run`: the program was ended by the output or disk limit.
    OutputOrDiskLimit,
    /// `run`: the program was ended by a time limit.
    TimeLimit,
    /// Brig could not do it; stderr says what to do.
    Failed,
    /// The job was cancelled.
    Cancelled,
    /// `run`: the program died of the memory limit.
    MemoryLimit,
    /// `run`: the program was killed by a refused system call.
    RefusedCall,
    /// `run`: killed by this signal, of its own doing.
    Signalled(u8),
    /// `run`: the program ended by itself with this status.
    Program(u8),
}

impl Exit {
    /// The number.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::NotFit => 1,
            Self::Usage => 2,
            Self::OutputOrDiskLimit => 123,
            Self::TimeLimit => 124,
            Self::Failed => 125,
            Self::Cancelled => 130,
            Self::MemoryLimit => 137,
            Self::RefusedCall => 159,
            // Signals have small numbers; real-time ones end at 64.
            Self::Signalled(signal) => 128u8.saturating_add(signal),
            Self::Program(code) => code,
        }
    }

    /// The status of `brig run` for this result.
    pub(crate) fn of_result(result: &JobResult) -> Self {
        match result {
            JobResult::Ran(outcome) => Self::of_verdict(&outcome.verdict),
            JobResult::Failed(_) => Self::Failed,
            JobResult::CancelledInQueue => Self::Cancelled,
        }
    }

    fn of_verdict(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Exited { code } => Self::Program(*code),
            Verdict::Signalled { signal } => Self::Signalled(*signal),
            Verdict::TimedOut { .. } => Self::TimeLimit,
            Verdict::OutOfMemory => Self::MemoryLimit,
            Verdict::OutputLimit | Verdict::DiskLimit => Self::OutputOrDiskLimit,
            Verdict::RefusedCall { .. } => Self::RefusedCall,
            Verdict::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.status())
    }
}

/// The table in `brig run --help`.
pub(crate) const RUN_STATUS_HELP: &str = "\
Exit status:
  the program's own, when it ended by itself
  2    the command line is wrong
  123  the output or disk limit ended it
  124  a time limit ended it
  125  Brig could not run it; stderr says what to do
  130  cancelled
  137  the memory limit ended it, or it was killed by SIGKILL
  159  a refused system call killed it
  128+n  killed by signal n";

#[cfg(test)]
mod tests {
    use super::*;
    use brig_core::outcome::{Failure, TimeLimit};

    #[test]
    fn every_verdict_has_the_documented_status() {
        let table = [
            (Verdict::Exited { code: 0 }, 0),
            (Verdict::Exited { code: 7 }, 7),
            (Verdict::Signalled { signal: 9 }, 137),
            (Verdict::Signalled { signal: 11 }, 139),
            (Verdict::Signalled { signal: 64 }, 192),
            (
                Verdict::TimedOut {
                    limit: TimeLimit::Wall,
                },
                124,
            ),
            (
                Verdict::TimedOut {
                    limit: TimeLimit::Cpu,
                },
                124,
            ),
            (Verdict::OutOfMemory, 137),
            (Verdict::OutputLimit, 123),
            (Verdict::DiskLimit, 123),
            (Verdict::RefusedCall { name: "x".into() }, 159),
            (Verdict::Cancelled, 130),
        ];
        for (verdict, status) in table {
            assert_eq!(Exit::of_verdict(&verdict).status(), status, "{verdict:?}");
        }
    }

    #[test]
    fn what_brig_could_not_run_is_never_the_programs_status() {
        let failed = JobResult::Failed(Failure::QueueExpired);
        assert_eq!(Exit::of_result(&failed).status(), 125);
        assert_eq!(Exit::of_result(&JobResult::CancelledInQueue).status(), 130);
    }
}
