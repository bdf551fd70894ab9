//! Changes of state that are decided by [`JobState::next`] and then written, guarded, in one transaction.
//!
//! The state is read and written under the writers' lock, and the write is guarded by what was read.

use super::SqliteStore;
use super::sql;
use super::writers::{Statement, Writers};
use crate::event_row::EventBatch;
use crate::row::{self, Standing};
use brig_core::event::EventBody;
use brig_core::job::{JobEvent, JobState, Refused};
use brig_core::outcome::Failure;
use brig_core::spec::Durability;
use brig_core::store::{AttemptRef, Changed, JobResult, StoreError};
use brig_core::{JobId, Timestamp};
use sqlx::sqlite::SqliteRow;

/// What a change writes beside the state.
pub(super) struct Notes {
    /// Events before the one that tells of the change.
    pub(super) events: Vec<EventBody>,
    /// The result, where the change ends the job.
    pub(super) result: JobResult,
}

/// The states from which a job may be ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct FromStates(pub(super) &'static str, pub(super) &'static str);

impl SqliteStore {
    /// Runs a statement that writes.
    pub(super) async fn write(
        &self,
        act: &'static str,
        durability: Durability,
        statement: Statement,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let mut writers = self.turn().await;
        writers
            .run(durability, statement)
            .await
            .map_err(self.errors.of(act))
    }

    /// Where a job stands, read where it is written.
    pub(super) async fn standing(
        &self,
        writers: &mut Writers,
        job: JobId,
    ) -> Result<Option<Standing>, StoreError> {
        let statement = sqlx::query(sql::STATE).bind(job.as_bytes().to_vec());
        let rows = writers
            .run(Durability::Process, statement)
            .await
            .map_err(self.errors.of("read a job's state"))?;
        rows.first().map(row::standing).transpose()
    }

    /// Why a guarded write found nothing to change: asks the pure function.
    pub(super) async fn refusal(
        &self,
        job: JobId,
        event: JobEvent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut writers = self.turn().await;
        let at = self.standing(&mut writers, job).await?;
        let at = at.ok_or(StoreError::NotFound)?;
        at.state.next(event, now, at.rules)?;
        Ok(())
    }

    /// Writes the state that follows `event`, with the events that tell of it.
    pub(super) async fn apply(
        &self,
        writers: &mut Writers,
        at: &Standing,
        (event, now): (JobEvent, Timestamp),
        notes: Notes,
    ) -> Result<Changed, StoreError> {
        let next = at.state.next(event, now, at.rules)?;
        let Notes { mut events, result } = notes;
        let (sql, told) = match next {
            JobState::Queued { .. } => (sql::REQUEUE, requeued(&result)),
            JobState::Cancelling(_) => (sql::CANCELLING, EventBody::Cancelling),
            JobState::Running(_) => return Err(Refused::AlreadyClaimed.into()),
            JobState::Finished | JobState::Failed | JobState::Cancelled => {
                let attempt = AttemptRef {
                    job: at.job,
                    attempt: at.attempts,
                };
                self.forget_durability(at.job);
                let ending = Ending::new(attempt, FromStates(at.state.word(), at.state.word()), next, now);
                return ending
                    .write(self, writers, at.durability, Notes { events, result })
                    .await;
            }
        };
        if matches!(next, JobState::Queued { .. }) {
            self.forget_durability(at.job);
        }
        events.push(told);
        let mut batch = batch(events)?;
        let (list, bodies) = batch.take_arguments();
        let statement = sqlx::query(sql)
            .bind(at.job.as_bytes().to_vec())
            .bind(i64::from(at.attempts))
            .bind(now.as_millis())
            .bind(list)
            .bind(bodies);
        let rows = writers
            .run(Durability::Process, statement)
            .await
            .map_err(self.errors.of("change a job's state"))?;
        let last_seq = rows.first().map(row::last_seq).transpose()?;
        Ok(Changed {
            job: at.job,
            state: next,
            events: batch.numbered(at.job, at.attempts, now, last_seq.ok_or(Refused::StaleAttempt)?),
        })
    }
}

/// The end of a job, to be written.
pub(super) struct Ending {
    attempt: AttemptRef,
    from: FromStates,
    to: JobState,
    now: Timestamp,
}

impl Ending {
    pub(super) fn new(attempt: AttemptRef, from: FromStates, to: JobState, now: Timestamp) -> Self {
        Self {
            attempt,
            from,
            to,
            now,
        }
    }

    /// One transaction. [`Refused::StaleAttempt`] where the guard did not hold.
    pub(super) async fn write(
        self,
        store: &SqliteStore,
        writers: &mut Writers,
        durability: Durability,
        notes: Notes,
    ) -> Result<Changed, StoreError> {
        let Self {
            attempt: AttemptRef { job, attempt },
            from: FromStates(from, or_from),
            to,
            now,
        } = self;
        let Notes { mut events, result } = notes;
        // A cancelled job's kind is always `cancelled`, also where its cell was lost before the kill reached it.
        let kind = if to == JobState::Cancelled {
            "cancelled"
        } else {
            result.kind()
        };
        let state = to.word();
        events.push(EventBody::Ended {
            state: state.to_owned(),
            kind: kind.to_owned(),
        });
        let mut batch = batch(events)?;
        let (list, bodies) = batch.take_arguments();
        let result = serde_json::to_string(&result).map_err(encoding("encode a result"))?;
        let statement = sqlx::query(sql::END)
            .bind(job.as_bytes().to_vec())
            .bind(i64::from(attempt))
            .bind(now.as_millis())
            .bind(from)
            .bind(or_from)
            .bind(state)
            .bind(kind)
            .bind(result)
            .bind(list)
            .bind(bodies);
        let rows = writers
            .run(durability, statement)
            .await
            .map_err(store.errors.of("end a job"))?;
        let last_seq = rows.first().map(row::last_seq).transpose()?;
        Ok(Changed {
            job,
            state: to,
            events: batch.numbered(job, attempt, now, last_seq.ok_or(Refused::StaleAttempt)?),
        })
    }
}

pub(super) fn batch(events: Vec<EventBody>) -> Result<EventBatch, StoreError> {
    EventBatch::new(events).map_err(encoding("encode an event"))
}

pub(super) fn encoding(act: &'static str) -> impl Fn(serde_json::Error) -> StoreError {
    move |error| StoreError::Database {
        act,
        source: Box::new(error),
    }
}

/// Why an attempt was given up, in words for a watcher.
fn requeued(result: &JobResult) -> EventBody {
    let reason = match result {
        JobResult::Failed(Failure::Interrupted { reason, .. }) => reason.clone(),
        other @ (JobResult::Failed(_) | JobResult::Ran(_) | JobResult::CancelledInQueue) => {
            other.kind().to_owned()
        }
    };
    EventBody::Requeued { reason }
}
