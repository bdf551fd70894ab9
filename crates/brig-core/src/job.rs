//! The job state machine: one pure, total function.
//!
//! ```text
//!   submit            claim               program ended
//!  ────────▶ Queued ─────────▶ Running ─────────────────────▶ Finished
//!             │ ▲                │ │ │
//!             │ └────────────────┘ │ └── fault or lease lost, no attempts left ──▶ Failed
//!             │  fault or lease    │
//!             │  lost, attempts    │ cancel
//!      cancel │  left              ▼
//!             │               Cancelling ── killed, fault or lease lost ──▶ Cancelled
//!             │                    └────── program ended first ───────────▶ Finished
//!             ├── queue time-out ──────────────────────────────────────────▶ Failed
//!             └──────────────────────────────────────────────────────────▶ Cancelled
//! ```
//!
//! `Finished` means *the program ran*, with any verdict; `Failed` means *Brig could not run it*. `Cancelling`
//! exists because untrusted code may still be running. The attempt number is the fencing token: a worker that
//! lost its lease gets [`Refused::StaleAttempt`] and never overwrites. Stores encode this table in their
//! `WHERE` clauses; their conformance suite walks every state and event against [`JobState::next`].

use crate::id::WorkerId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Who may work on a job, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The worker.
    pub worker: WorkerId,
    /// Number of this attempt, from 1: the fencing token.
    pub attempt: u32,
    /// Expires then, by the store's clock.
    pub until: Timestamp,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for a worker.
    Queued {
        /// How many attempts were started before.
        attempts_used: u32,
        /// Not before this time.
        not_before: Timestamp,
        /// Expires then.
        expires: Timestamp,
    },
    /// A worker runs it.
    Running(Lease),
    /// A worker was asked to stop it; untrusted code may still run.
    Cancelling(Lease),
    /// The program ran.
    Finished,
    /// Brig could not run it.
    Failed,
    /// Cancelled.
    Cancelled,
}

/// Something that happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobEvent {
    /// A worker wants it.
    Claimed {
        /// Who.
        worker: WorkerId,
        /// Lease until then.
        until: Timestamp,
    },
    /// The worker is alive.
    LeaseRenewed {
        /// Its attempt.
        attempt: u32,
        /// Lease until then.
        until: Timestamp,
    },
    /// The program ended with a verdict other than cancelled.
    ProgramEnded {
        /// Which attempt.
        attempt: u32,
    },
    /// The program was killed because of the cancellation.
    ProgramKilled {
        /// Which attempt.
        attempt: u32,
    },
    /// Brig could not run it.
    AttemptFaulted {
        /// Which attempt.
        attempt: u32,
        /// Whether another attempt may be made.
        retry: Retry,
    },
    /// The lease ran out.
    LeaseExpired,
    /// The worker is known to be dead: its cells are gone, whatever its lease says.
    WorkerLost {
        /// Who.
        worker: WorkerId,
    },
    /// The queue time-out passed.
    QueueExpired,
    /// The caller wants it stopped.
    CancelRequested,
}

/// Whether another attempt may be made after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// If attempts are left.
    IfAttemptsLeft,
    /// No: it would fail the same way.
    Never,
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Queued, but for later.
    #[error("the job is not due yet")]
    NotDueYet,
    /// Its queue time-out has passed.
    #[error("the job's queue time-out has passed")]
    PastQueueTimeout,
    /// Its queue time-out has not passed.
    #[error("the job's queue time-out has not passed")]
    QueueTimeLeft,
    /// Somebody works on it.
    #[error("the job is already claimed")]
    AlreadyClaimed,
    /// Another attempt is the current one.
    #[error("the attempt is not the current one")]
    StaleAttempt,
    /// The lease still holds.
    #[error("the lease still holds")]
    LeaseStillHeld,
    /// Nobody works on it.
    #[error("the job is not running")]
    NotRunning,
    /// Cancellation was not asked for.
    #[error("the job was not asked to stop")]
    NotCancelling,
    /// It has ended.
    #[error("the job has already ended")]
    AlreadyTerminal,
}

impl JobState {
    /// The word in SQL, proto, JSON and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Running(_) => "running",
            Self::Cancelling(_) => "cancelling",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing can change any more.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }

    /// The current attempt; 0 before the first and after the last has ended.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        match self {
            Self::Running(lease) | Self::Cancelling(lease) => lease.attempt,
            Self::Queued { attempts_used, .. } => *attempts_used,
            Self::Finished | Self::Failed | Self::Cancelled => 0,
        }
    }

    /// The state after `event` at time `now`, or why it changes nothing.
    ///
    /// # Errors
    /// [`Refused`], when the event does not apply to this state.
    pub fn next(self, event: JobEvent, now: Timestamp, rules: RequeueRules) -> Result<Self, Refused> {
        match self {
            Self::Queued {
                attempts_used,
                not_before,
                expires,
            } => next_of_queued(event, now, (attempts_used, not_before, expires)),
            Self::Running(lease) => next_of_running(event, now, lease, rules),
            Self::Cancelling(lease) => next_of_cancelling(event, now, lease),
            Self::Finished | Self::Failed | Self::Cancelled => Err(Refused::AlreadyTerminal),
        }
    }
}

/// What a lost attempt leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequeueRules {
    /// How often the program may be started, at least 1.
    pub max_attempts: u32,
    /// How long a job waits in the queue after it was requeued, milliseconds.
    pub queue_timeout_millis: i64,
}

fn next_of_queued(
    event: JobEvent,
    now: Timestamp,
    (attempts_used, not_before, expires): (u32, Timestamp, Timestamp),
) -> Result<JobState, Refused> {
    match event {
        JobEvent::Claimed { .. } if now >= expires => Err(Refused::PastQueueTimeout),
        JobEvent::Claimed { .. } if now < not_before => Err(Refused::NotDueYet),
        JobEvent::Claimed { worker, until } => Ok(JobState::Running(Lease {
            worker,
            attempt: attempts_used.saturating_add(1),
            until,
        })),
        JobEvent::QueueExpired if now < expires => Err(Refused::QueueTimeLeft),
        JobEvent::QueueExpired => Ok(JobState::Failed),
        JobEvent::CancelRequested => Ok(JobState::Cancelled),
        JobEvent::LeaseRenewed { .. }
        | JobEvent::ProgramEnded { .. }
        | JobEvent::ProgramKilled { .. }
        | JobEvent::AttemptFaulted { .. }
        | JobEvent::LeaseExpired
        | JobEvent::WorkerLost { .. } => Err(Refused::NotRunning),
    }
}

fn next_of_running(
    event: JobEvent,
    now: Timestamp,
    lease: Lease,
    rules: RequeueRules,
) -> Result<JobState, Refused> {
    let requeue_or_fail = |retry: Retry| {
        if retry == Retry::IfAttemptsLeft && lease.attempt < rules.max_attempts {
            JobState::Queued {
                attempts_used: lease.attempt,
                not_before: now,
                expires: Timestamp::from_millis(now.as_millis().saturating_add(rules.queue_timeout_millis)),
            }
        } else {
            JobState::Failed
        }
    };
    match event {
        JobEvent::Claimed { .. } => Err(Refused::AlreadyClaimed),
        JobEvent::LeaseRenewed { attempt, until } => {
            fenced(attempt, lease)?;
            Ok(JobState::Running(Lease { until, ..lease }))
        }
        JobEvent::ProgramEnded { attempt } => {
            fenced(attempt, lease)?;
            Ok(JobState::Finished)
        }
        JobEvent::ProgramKilled { attempt } => {
            fenced(attempt, lease)?;
            Err(Refused::NotCancelling)
        }
        JobEvent::AttemptFaulted { attempt, retry } => {
            fenced(attempt, lease)?;
            Ok(requeue_or_fail(retry))
        }
        JobEvent::LeaseExpired if now < lease.until => Err(Refused::LeaseStillHeld),
        JobEvent::LeaseExpired => Ok(requeue_or_fail(Retry::IfAttemptsLeft)),
        JobEvent::WorkerLost { worker } if worker != lease.worker => Err(Refused::LeaseStillHeld),
        JobEvent::WorkerLost { .. } => Ok(requeue_or_fail(Retry::IfAttemptsLeft)),
        JobEvent::QueueExpired => Err(Refused::AlreadyClaimed),
        JobEvent::CancelRequested => Ok(JobState::Cancelling(lease)),
    }
}

fn next_of_cancelling(event: JobEvent, now: Timestamp, lease: Lease) -> Result<JobState, Refused> {
    match event {
        JobEvent::Claimed { .. } | JobEvent::QueueExpired => Err(Refused::AlreadyClaimed),
        JobEvent::LeaseRenewed { attempt, until } => {
            fenced(attempt, lease)?;
            Ok(JobState::Cancelling(Lease { until, ..lease }))
        }
        JobEvent::ProgramEnded { attempt } => {
            fenced(attempt, lease)?;
            Ok(JobState::Finished)
        }
        JobEvent::ProgramKilled { attempt } | JobEvent::AttemptFaulted { attempt, .. } => {
            fenced(attempt, lease)?;
            Ok(JobState::Cancelled)
        }
        JobEvent::LeaseExpired if now < lease.until => Err(Refused::LeaseStillHeld),
        JobEvent::LeaseExpired => Ok(JobState::Cancelled),
        JobEvent::WorkerLost { worker } if worker != lease.worker => Err(Refused::LeaseStillHeld),
        JobEvent::WorkerLost { .. } => Ok(JobState::Cancelled),
        // Idempotent: asking twice changes nothing.
        JobEvent::CancelRequested => Ok(JobState::Cancelling(lease)),
    }
}

fn fenced(attempt: u32, lease: Lease) -> Result<(), Refused> {
    if attempt == lease.attempt {
        Ok(())
    } else {
        Err(Refused::StaleAttempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn worker(n: u8) -> WorkerId {
        WorkerId::from_bytes([n; 16])
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (0i64..20).prop_map(Timestamp::from_millis)
    }

    fn event() -> impl Strategy<Value = JobEvent> {
        let attempt = 0u32..5;
        let retry = prop_oneof![Just(Retry::IfAttemptsLeft), Just(Retry::Never)];
        prop_oneof![
            (0u8..3, time()).prop_map(|(w, until)| JobEvent::Claimed {
                worker: worker(w),
                until
            }),
            (attempt.clone(), time()).prop_map(|(attempt, until)| JobEvent::LeaseRenewed { attempt, until }),
            attempt
                .clone()
                .prop_map(|attempt| JobEvent::ProgramEnded { attempt }),
            attempt
                .clone()
                .prop_map(|attempt| JobEvent::ProgramKilled { attempt }),
            (attempt, retry).prop_map(|(attempt, retry)| JobEvent::AttemptFaulted { attempt, retry }),
            Just(JobEvent::LeaseExpired),
            (0u8..3).prop_map(|w| JobEvent::WorkerLost { worker: worker(w) }),
            Just(JobEvent::QueueExpired),
            Just(JobEvent::CancelRequested),
        ]
    }

    fn queued() -> JobState {
        JobState::Queued {
            attempts_used: 0,
            not_before: Timestamp::from_millis(0),
            expires: Timestamp::from_millis(15),
        }
    }

    /// Follows a history; gives every accepted step.
    fn walk(events: &[(JobEvent, Timestamp)], max_attempts: u32) -> Vec<(JobState, JobEvent, JobState)> {
        let rules = RequeueRules {
            max_attempts,
            queue_timeout_millis: 15,
        };
        let mut state = queued();
        let mut steps = Vec::new();
        for (event, now) in events {
            if let Ok(next) = state.next(*event, *now, rules) {
                steps.push((state, *event, next));
                state = next;
            }
        }
        steps
    }

    proptest! {
        #[test]
        fn a_terminal_state_never_changes(events in prop::collection::vec((event(), time()), 0..60), max in 1u32..4) {
            let steps = walk(&events, max);
            for (before, _, _) in &steps {
                prop_assert!(!before.is_terminal());
            }
        }

        #[test]
        fn the_program_is_started_at_most_max_attempts_times(events in prop::collection::vec((event(), time()), 0..80), max in 1u32..4) {
            let starts = walk(&events, max).iter().filter(|(_, e, _)| matches!(e, JobEvent::Claimed { .. })).count();
            prop_assert!(starts <= usize::try_from(max).unwrap());
        }

        #[test]
        fn attempts_only_rise(events in prop::collection::vec((event(), time()), 0..80), max in 1u32..4) {
            let mut last = 0;
            for (_, _, after) in walk(&events, max) {
                if !after.is_terminal() {
                    prop_assert!(after.attempt() >= last);
                    last = after.attempt();
                }
            }
        }

        #[test]
        fn a_late_worker_cannot_finish_a_newer_attempt(attempt in 1u32..5, stale in 0u32..5) {
            prop_assume!(attempt != stale);
            let lease = Lease { worker: worker(1), attempt, until: Timestamp::from_millis(10) };
            let rules = RequeueRules { max_attempts: 9, queue_timeout_millis: 1 };
            for state in [JobState::Running(lease), JobState::Cancelling(lease)] {
                for event in [JobEvent::ProgramEnded { attempt: stale }, JobEvent::ProgramKilled { attempt: stale }] {
                    prop_assert_eq!(state.next(event, Timestamp::from_millis(0), rules), Err(Refused::StaleAttempt));
                }
            }
        }

        #[test]
        fn a_job_asked_to_stop_is_never_requeued(events in prop::collection::vec((event(), time()), 0..80), max in 1u32..4) {
            let mut asked = false;
            for (_, event, after) in walk(&events, max) {
                asked |= event == JobEvent::CancelRequested;
                let waits = matches!(after, JobState::Queued { .. });
                prop_assert!(!(asked && waits));
            }
        }
    }

    #[test]
    fn the_default_policy_runs_a_program_at_most_once() {
        let rules = RequeueRules {
            max_attempts: 1,
            queue_timeout_millis: 1,
        };
        let lease = Lease {
            worker: worker(1),
            attempt: 1,
            until: Timestamp::from_millis(10),
        };
        let next = JobState::Running(lease).next(JobEvent::LeaseExpired, Timestamp::from_millis(10), rules);
        assert_eq!(next, Ok(JobState::Failed));
    }
}
