//! From what was seen of an attempt to what is recorded.

use super::Engine;
use super::files::FileError;
use super::output::Journal;
use super::seat::Seat;
use super::secrets::SecretsLost;
use brig_core::backend::{BackendError, Collected, Environment, Exit};
use brig_core::job::Retry;
use brig_core::outcome::{Failure, Flags, Outcome, StreamSummary, Usage};
use brig_core::store::{AttemptEnd, Job};
use brig_core::{EventBody, Fault, FileId, Judgement, KillCause, Receipt, StreamName, Verdict, judge};
use std::time::Duration;
use tracing::{error, info};
use uuid::Uuid;

/// What there is to know of a program that ran.
pub(crate) struct Lived {
    pub(crate) exit: Exit,
    pub(crate) collected: Collected,
    pub(crate) receipt: Receipt,
}

/// Why an attempt came to no verdict.
pub(crate) enum Unfinished {
    /// It was killed before its program started.
    Killed,
    /// The backend could not do its part.
    Backend(BackendError),
    /// A file that it needs cannot be had.
    Input { file: FileId, error: FileError },
    /// The daemon was restarted and forgot the secrets.
    SecretsLost,
}

impl From<BackendError> for Unfinished {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

impl From<SecretsLost> for Unfinished {
    fn from(_: SecretsLost) -> Self {
        Self::SecretsLost
    }
}

impl Lived {
    /// The outcome, or that Brig itself gave the program up.
    pub(crate) fn judge(
        self,
        engine: &Engine,
        job: &Job,
        journal: &Journal,
        rest: &[EventBody],
    ) -> AttemptEnd {
        let Judgement::Ran { verdict, flags } = judge(&self.exit.facts, &job.spec.limits) else {
            return abandoned(engine, journal.failure());
        };
        let Exit {
            facts,
            report,
            stdout_bytes,
            stderr_bytes,
            hints,
        } = self.exit;
        let cancelled = verdict == Verdict::Cancelled;
        let usage = Usage {
            wall: facts.wall,
            cpu: facts.cpu,
            queue: queue_time(job),
            memory_peak_bytes: facts.memory_peak,
            processes_peak: facts.processes_peak,
        };
        engine.metrics.program_ended(&verdict, &usage);
        let outcome = Box::new(Outcome {
            verdict,
            exception: report.exception,
            value: report.value,
            stdout: journal.summary(StreamName::Stdout, stdout_bytes, rest),
            stderr: journal.summary(StreamName::Stderr, stderr_bytes, rest),
            usage,
            flags,
            refused_calls: facts.refused_calls,
            files: self.collected.files,
            skipped_files: self.collected.skipped,
            hints,
            receipt: self.receipt,
        });
        if cancelled {
            AttemptEnd::Killed(outcome)
        } else {
            AttemptEnd::Finished(outcome)
        }
    }
}

impl Unfinished {
    /// What to record.
    pub(crate) fn into_end(
        self,
        engine: &Engine,
        job: &Job,
        seat: &Seat,
        cell: Option<&dyn Environment>,
    ) -> AttemptEnd {
        if matches!(self, Self::Backend(BackendError::Lost(_))) {
            engine.backend_lost.cancel();
        }
        // A cell that we killed fails in one way or another: that is no fault.
        match (seat.killed(), cell) {
            (Some(KillCause::Cancelled), Some(cell)) => return cancelled_early(job, cell.receipt().clone()),
            (Some(KillCause::Abandoned), _) => return abandoned(engine, None),
            (Some(_) | None, _) => {}
        }
        let (failure, retry) = match self {
            Self::Killed => return abandoned(engine, None),
            Self::SecretsLost => (secrets_lost(), Retry::Never),
            Self::Input { file, error } => (input_failure(file, &error), Retry::Never),
            Self::Backend(error) => (backend_failure(&error), retry_of(error.fault())),
        };
        info!(kind = failure.kind(), "the program could not be run");
        AttemptEnd::Faulted { failure, retry }
    }
}

fn retry_of(fault: Fault) -> Retry {
    match fault {
        Fault::Busy | Fault::Transient => Retry::IfAttemptsLeft,
        Fault::Caller | Fault::Host | Fault::Bug => Retry::Never,
    }
}

fn backend_failure(error: &BackendError) -> Failure {
    error.to_failure(|| with_correlation_id(error))
}

/// Logs a fault of ours under a new id, which is all that the caller gets to see of it.
pub(crate) fn with_correlation_id(error: &(dyn std::error::Error + 'static)) -> String {
    let id = Uuid::now_v7().to_string();
    let causes: Vec<String> = std::iter::successors(error.source(), |cause| cause.source())
        .map(ToString::to_string)
        .collect();
    error!(correlation_id = %id, %error, causes = causes.join(": "), "internal error");
    id
}

fn input_failure(file: FileId, error: &FileError) -> Failure {
    match error {
        FileError::NotFound => Failure::SetupError {
            stage: "inputs".to_owned(),
            item: format!("file {file}"),
            errno: 0,
            remedy: "the file was removed before the job started; upload it again".to_owned(),
        },
        FileError::TooLarge { .. }
        | FileError::QuotaExceeded { .. }
        | FileError::DigestMismatch
        | FileError::Io { .. }
        | FileError::Store(_) => Failure::InternalError {
            correlation_id: with_correlation_id(error),
        },
    }
}

fn secrets_lost() -> Failure {
    Failure::Interrupted {
        retryable: true,
        reason: "the daemon was restarted, which forgets secrets; submit the job again".to_owned(),
    }
}

/// Brig gave the program up.
fn abandoned(engine: &Engine, unstored: Option<String>) -> AttemptEnd {
    // A daemon without its keeper stops, too: the cause is told, not what followed from it.
    let reason = if engine.backend_lost.is_cancelled() {
        "the keeper is gone".to_owned()
    } else if engine.is_stopping() {
        "the daemon was stopped".to_owned()
    } else if let Some(why) = unstored {
        format!("its output could not be stored: {why}")
    } else {
        "its lease was lost".to_owned()
    };
    AttemptEnd::Faulted {
        failure: Failure::Interrupted {
            retryable: true,
            reason,
        },
        retry: Retry::IfAttemptsLeft,
    }
}

/// Cancelled after it got a cell and before its program started.
fn cancelled_early(job: &Job, receipt: Receipt) -> AttemptEnd {
    AttemptEnd::Killed(Box::new(Outcome {
        verdict: Verdict::Cancelled,
        exception: None,
        value: None,
        stdout: StreamSummary::default(),
        stderr: StreamSummary::default(),
        usage: Usage {
            queue: queue_time(job),
            ..Usage::default()
        },
        flags: Flags::default(),
        refused_calls: Vec::new(),
        files: Vec::new(),
        skipped_files: Vec::new(),
        hints: Vec::new(),
        receipt,
    }))
}

fn queue_time(job: &Job) -> Duration {
    job.started
        .map_or(Duration::ZERO, |started| started.since(job.created))
}
