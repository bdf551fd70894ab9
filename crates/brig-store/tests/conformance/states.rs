//! Every state × every event, against the pure function.

use super::given::{self, AnyStore, LEASE, at, tenant};
use brig_core::event::EventBody;
use brig_core::job::{JobEvent, JobState, Refused, RequeueRules, Retry};
use brig_core::outcome::Failure;
use brig_core::store::{AttemptEnd, AttemptRef, StoreError};
use brig_core::{JobId, Timestamp, WorkerId};
use std::time::Duration;

const QUEUE_TIMEOUT: i64 = 1_000;

/// A state to drive a job into, by operations alone.
#[derive(Debug, Clone, Copy)]
pub enum Drive {
    Queued,
    QueuedAgain,
    Running,
    RunningAgain,
    Cancelling,
    Finished,
    Failed,
    Cancelled,
}

const DRIVES: [Drive; 8] = [
    Drive::Queued,
    Drive::QueuedAgain,
    Drive::Running,
    Drive::RunningAgain,
    Drive::Cancelling,
    Drive::Finished,
    Drive::Failed,
    Drive::Cancelled,
];

/// An operation of the port, as an event of the pure function.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    Claim,
    /// With this attempt number.
    Renew(u32),
    EndFinished(u32),
    EndKilled(u32),
    EndFaulted(u32, Retry),
    ExpireLeases,
    ExpireQueue,
    /// By a daemon that is another worker.
    Recover,
    /// By the worker that holds the lease.
    RecoverByHolder,
    Cancel,
}

/// The job under test: who works on it and by which rules.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    pub job: JobId,
    pub worker: WorkerId,
    pub rules: RequeueRules,
}

impl Subject {
    /// A submitted job.
    pub async fn submit(store: &AnyStore, max_attempts: u32, now: Timestamp) -> Self {
        let mut job = given::job();
        job.spec.retry.max_attempts = max_attempts;
        job.spec.queue_timeout = Duration::from_millis(QUEUE_TIMEOUT.unsigned_abs());
        let id = given::submitted(store, job, now).await;
        let rules = RequeueRules {
            max_attempts,
            queue_timeout_millis: QUEUE_TIMEOUT,
        };
        Self {
            job: id,
            worker: WorkerId::generate(),
            rules,
        }
    }

    fn attempt(&self, attempt: u32) -> AttemptRef {
        AttemptRef {
            job: self.job,
            attempt,
        }
    }

    pub async fn state(&self, store: &AnyStore) -> JobState {
        store.get(&tenant("default"), self.job).await.unwrap().state
    }

    async fn claim(&self, store: &AnyStore, now: Timestamp) {
        let claim = store.claim(self.worker, LEASE, now).await.unwrap().unwrap();
        assert_eq!(claim.job.id, self.job);
    }

    /// The event of the pure function that `operation` stands for.
    fn event(&self, operation: Operation, before: JobState, now: Timestamp) -> JobEvent {
        let until = now.plus(LEASE);
        match operation {
            Operation::Claim => JobEvent::Claimed {
                worker: self.worker,
                until,
            },
            Operation::Renew(attempt) => JobEvent::LeaseRenewed { attempt, until },
            Operation::EndFinished(attempt) => JobEvent::ProgramEnded { attempt },
            Operation::EndKilled(attempt) => JobEvent::ProgramKilled { attempt },
            Operation::EndFaulted(attempt, retry) => JobEvent::AttemptFaulted { attempt, retry },
            Operation::ExpireLeases => JobEvent::LeaseExpired,
            Operation::ExpireQueue => JobEvent::QueueExpired,
            Operation::Recover => JobEvent::WorkerLost {
                worker: match before {
                    JobState::Running(lease) | JobState::Cancelling(lease) => lease.worker,
                    _ => self.worker,
                },
            },
            Operation::RecoverByHolder => JobEvent::WorkerLost {
                worker: WorkerId::from_bytes([0; 16]),
            },
            Operation::Cancel => JobEvent::CancelRequested,
        }
    }

    /// Carries `operation` out; gives what was refused, where the operation tells.
    async fn perform(&self, store: &AnyStore, operation: Operation, now: Timestamp) -> Result<(), Refused> {
        let told = match operation {
            Operation::Claim => store.claim(self.worker, LEASE, now).await.map(drop),
            Operation::Renew(n) => store.renew(self.attempt(n), LEASE, now).await.map(drop),
            Operation::EndFinished(n) => self.end(store, n, given::finished(), now).await,
            Operation::EndKilled(n) => self.end(store, n, given::killed(), now).await,
            Operation::EndFaulted(n, retry) => {
                let failure = Failure::Interrupted {
                    retryable: true,
                    reason: "test".into(),
                };
                self.end(store, n, AttemptEnd::Faulted { failure, retry }, now)
                    .await
            }
            Operation::ExpireLeases => store.expire_leases(now).await.map(drop),
            Operation::ExpireQueue => store.expire_queue(now).await.map(drop),
            Operation::Recover => store.recover(WorkerId::generate(), now).await.map(drop),
            Operation::RecoverByHolder => store.recover(self.worker, now).await.map(drop),
            Operation::Cancel => store.cancel(&tenant("default"), self.job, now).await.map(drop),
        };
        match told {
            Ok(()) => Ok(()),
            Err(StoreError::Refused(refused)) => Err(refused),
            Err(other) => panic!("{operation:?}: {other:?}"),
        }
    }

    async fn end(
        &self,
        store: &AnyStore,
        attempt: u32,
        end: AttemptEnd,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let events = vec![given::output(b"last words")];
        store.end(self.attempt(attempt), end, events, now).await.map(drop)
    }

    /// Carries `operation` out and compares what became of the job with the pure function.
    pub async fn check(&self, store: &AnyStore, operation: Operation, now: Timestamp) {
        let before = self.state(store).await;
        let expected = before.next(self.event(operation, before, now), now, self.rules);
        let told = self.perform(store, operation, now).await;
        let after = self.state(store).await;
        let context = format!("{operation:?} at {now:?} in {before:?}");
        match expected {
            Ok(next) => {
                assert_eq!(told, Ok(()), "{context}");
                assert_eq!(after, next, "{context}");
            }
            Err(refused) => {
                assert_eq!(after, before, "{context}: was refused and must change nothing");
                if tells_refusals(operation) {
                    assert_eq!(told, Err(refused), "{context}");
                }
            }
        }
        self.check_record(store, after).await;
    }

    /// The record agrees with itself.
    async fn check_record(&self, store: &AnyStore, state: JobState) {
        let tenant = tenant("default");
        let job = store.get(&tenant, self.job).await.unwrap();
        assert_eq!(job.ended.is_some(), state.is_terminal());
        assert_eq!(job.result.is_some(), state.is_terminal());
        let events = given::whole_history(store, &tenant, self.job).await;
        let endings: Vec<&EventBody> = events
            .iter()
            .map(|event| &event.body)
            .filter(|body| matches!(body, EventBody::Ended { .. }))
            .collect();
        match job.result {
            None => assert!(endings.is_empty()),
            Some(result) => {
                let cancelled = state == JobState::Cancelled;
                let told = EventBody::Ended {
                    state: state.word().into(),
                    kind: if cancelled { "cancelled" } else { result.kind() }.into(),
                };
                assert_eq!(endings, [&told]);
                assert_eq!(events.last().unwrap().body, told);
            }
        }
    }

    /// Brings the job to an end, so that it is in nobody's way.
    pub async fn finish(&self, store: &AnyStore, now: Timestamp) {
        store.cancel(&tenant("default"), self.job, now).await.unwrap();
        store.recover(WorkerId::generate(), now).await.unwrap();
        assert!(self.state(store).await.is_terminal());
    }
}

/// Operations on one attempt say why they were refused; those that look for work only find none.
fn tells_refusals(operation: Operation) -> bool {
    match operation {
        Operation::Renew(_)
        | Operation::EndFinished(_)
        | Operation::EndKilled(_)
        | Operation::EndFaulted(..) => true,
        Operation::Claim
        | Operation::ExpireLeases
        | Operation::ExpireQueue
        | Operation::Recover
        | Operation::RecoverByHolder
        // Idempotent: a job that has ended stays as it is.
        | Operation::Cancel => false,
    }
}

/// A job in the wanted state; everything happened at time 0.
async fn driven(store: &AnyStore, drive: Drive, max_attempts: u32) -> Subject {
    let now = at(0);
    let subject = Subject::submit(store, max_attempts, now).await;
    match drive {
        Drive::Queued => {}
        Drive::QueuedAgain | Drive::RunningAgain => {
            subject.claim(store, now).await;
            store.recover(WorkerId::generate(), now).await.unwrap();
            if matches!(drive, Drive::RunningAgain) {
                subject.claim(store, now).await;
            }
        }
        Drive::Running => subject.claim(store, now).await,
        Drive::Cancelling => {
            subject.claim(store, now).await;
            store.cancel(&tenant("default"), subject.job, now).await.unwrap();
        }
        Drive::Finished => {
            subject.claim(store, now).await;
            subject.end(store, 1, given::finished(), now).await.unwrap();
        }
        Drive::Failed => {
            subject.claim(store, now).await;
            let end = AttemptEnd::Faulted {
                failure: Failure::QueueExpired,
                retry: Retry::Never,
            };
            subject.end(store, 1, end, now).await.unwrap();
        }
        Drive::Cancelled => {
            store.cancel(&tenant("default"), subject.job, now).await.unwrap();
        }
    }
    subject
}

fn operations() -> Vec<Operation> {
    let mut all = vec![
        Operation::Claim,
        Operation::ExpireLeases,
        Operation::ExpireQueue,
        Operation::Recover,
        Operation::RecoverByHolder,
        Operation::Cancel,
    ];
    for attempt in 0..4 {
        all.extend([
            Operation::Renew(attempt),
            Operation::EndFinished(attempt),
            Operation::EndKilled(attempt),
            Operation::EndFaulted(attempt, Retry::IfAttemptsLeft),
            Operation::EndFaulted(attempt, Retry::Never),
        ]);
    }
    all
}

/// Every state × every event × before, within, at the edges of and after every deadline × attempts left or not.
pub async fn every_state_answers_every_event_like_the_pure_function(store: AnyStore) {
    let lease = i64::try_from(LEASE.as_millis()).unwrap();
    let moments = [-1, 0, QUEUE_TIMEOUT - 1, QUEUE_TIMEOUT, lease - 1, lease];
    for drive in DRIVES {
        let again = matches!(drive, Drive::QueuedAgain | Drive::RunningAgain);
        let most = if again { [2, 3] } else { [1, 2] };
        for max_attempts in most {
            for operation in operations() {
                for moment in moments {
                    let subject = driven(&store, drive, max_attempts).await;
                    subject.check(&store, operation, at(moment)).await;
                    subject.finish(&store, at(moment)).await;
                }
            }
        }
    }
}

/// Whole histories, step by step: `steps` is (which operation, how much later).
pub async fn follow(store: &AnyStore, max_attempts: u32, steps: &[(usize, i64)]) {
    let all = operations();
    let mut now = 0;
    let subject = Subject::submit(store, max_attempts, at(now)).await;
    for (choice, later) in steps {
        now += later;
        subject.check(store, all[choice % all.len()], at(now)).await;
    }
    subject.finish(store, at(now)).await;
}

/// The result and the words of each way to end.
pub async fn the_failure_of_a_cancelled_attempt_is_kept(store: AnyStore) {
    let subject = driven(&store, Drive::Cancelling, 1).await;
    let failure = Failure::InternalError {
        correlation_id: "c".into(),
    };
    let end = AttemptEnd::Faulted {
        failure,
        retry: Retry::IfAttemptsLeft,
    };
    let (state, events) = store.end(subject.attempt(1), end, vec![], at(1)).await.unwrap();
    assert_eq!(state, JobState::Cancelled);
    let told = EventBody::Ended {
        state: "cancelled".into(),
        kind: "cancelled".into(),
    };
    assert_eq!(events.last().unwrap().body, told);
}

/// Cancelling twice, and cancelling what has ended, changes nothing and writes nothing.
pub async fn cancelling_again_changes_nothing(store: AnyStore) {
    let default = tenant("default");
    for drive in [
        Drive::Cancelling,
        Drive::Finished,
        Drive::Failed,
        Drive::Cancelled,
    ] {
        let subject = driven(&store, drive, 1).await;
        let before = store.get(&default, subject.job).await.unwrap();
        let (state, events) = store.cancel(&default, subject.job, at(5)).await.unwrap();
        assert_eq!((state, events), (before.state, vec![]));
        assert_eq!(store.get(&default, subject.job).await.unwrap(), before);
        subject.finish(&store, at(5)).await;
    }
}

/// Unknown jobs are not found, whatever is asked.
pub async fn a_job_that_does_not_exist_is_not_found(store: AnyStore) {
    let nowhere = AttemptRef {
        job: JobId::generate(),
        attempt: 1,
    };
    let default = tenant("default");
    let not_found = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::NotFound)));
    not_found(store.renew(nowhere, LEASE, at(0)).await.map(drop));
    not_found(store.append(nowhere, vec![], None, at(0)).await.map(drop));
    not_found(
        store
            .end(nowhere, given::finished(), vec![], at(0))
            .await
            .map(drop),
    );
    not_found(store.end(nowhere, given::killed(), vec![], at(0)).await.map(drop));
    not_found(store.cancel(&default, nowhere.job, at(0)).await.map(drop));
    not_found(store.get(&default, nowhere.job).await.map(drop));
    not_found(store.events(&default, nowhere.job, 1, 10).await.map(drop));
}
