//! What a worker does: claim, renew, append, end.

use super::change::{Ending, FromStates, Notes, batch, encoding};
use super::{SqliteStore, sql};
use crate::event_row::EventBatch;
use crate::row;
use brig_core::event::{EventBody, GapReason, JobEventRecord};
use brig_core::job::{JobEvent, JobState, Refused};
use brig_core::spec::Durability;
use brig_core::store::{AttemptEnd, AttemptRef, Claim, JobClaimer, JobResult, StoreError, Trim};
use brig_core::{Outcome, Timestamp, WorkerId};
use std::time::Duration;

#[async_trait::async_trait]
impl JobClaimer for SqliteStore {
    async fn claim(
        &self,
        worker: WorkerId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<Claim>, StoreError> {
        let statement = sqlx::query(sql::CLAIM)
            .bind(worker.as_bytes().to_vec())
            .bind(now.plus(lease).as_millis())
            .bind(now.as_millis());
        let rows = self.write("claim a job", Durability::Process, statement).await?;
        let Some(found) = rows.first() else {
            return Ok(None);
        };
        let job = row::job(found)?;
        self.remember_durability(job.id, job.spec.durability);
        let attempt = job.attempts;
        Ok(Some(Claim { job, attempt }))
    }

    async fn renew(
        &self,
        attempt: AttemptRef,
        lease: Duration,
        now: Timestamp,
    ) -> Result<JobState, StoreError> {
        let until = now.plus(lease);
        let statement = sqlx::query(sql::RENEW)
            .bind(attempt.job.as_bytes().to_vec())
            .bind(i64::from(attempt.attempt))
            .bind(until.as_millis());
        let rows = self
            .write("renew a lease", Durability::Process, statement)
            .await?;
        match rows.first() {
            Some(found) => row::state(found),
            None => {
                let event = JobEvent::LeaseRenewed {
                    attempt: attempt.attempt,
                    until,
                };
                self.refusal(attempt.job, event, now).await?;
                // Refused a moment ago and not any more: this attempt ended and another began between.
                Err(Refused::StaleAttempt.into())
            }
        }
    }

    async fn append(
        &self,
        attempt: AttemptRef,
        events: Vec<EventBody>,
        trim: Option<Trim>,
        now: Timestamp,
    ) -> Result<Vec<JobEventRecord>, StoreError> {
        let mut batch = batch(events)?;
        let statement = match trim {
            None => append_statement(sql::APPEND, attempt, now, &mut batch),
            Some(trim) => {
                let gap = serde_json::to_vec(&gap(trim)).map_err(encoding("encode a gap"))?;
                append_statement(sql::APPEND_TRIM, attempt, now, &mut batch)
                    .bind(i64::try_from(trim.from_seq).unwrap_or(i64::MAX))
                    .bind(i64::try_from(trim.to_seq).unwrap_or(i64::MAX))
                    .bind(gap)
            }
        };
        let rows = self
            .write("append events", Durability::Process, statement)
            .await?;
        let numbers: Vec<u64> = rows.iter().map(row::last_seq).collect::<Result<_, _>>()?;
        match numbers.iter().max() {
            Some(last) => Ok(batch.numbered(attempt.job, attempt.attempt, now, *last)),
            None => {
                // Appending is allowed exactly where renewing is.
                let event = JobEvent::LeaseRenewed {
                    attempt: attempt.attempt,
                    until: now,
                };
                self.refusal(attempt.job, event, now).await?;
                if batch.is_empty() {
                    Ok(Vec::new())
                } else {
                    Err(Refused::StaleAttempt.into())
                }
            }
        }
    }

    async fn end(
        &self,
        attempt: AttemptRef,
        end: AttemptEnd,
        events: Vec<EventBody>,
        now: Timestamp,
    ) -> Result<(JobState, Vec<JobEventRecord>), StoreError> {
        let number = attempt.attempt;
        match end {
            AttemptEnd::Finished(outcome) => {
                let ending = Ending::new(
                    attempt,
                    FromStates("running", "cancelling"),
                    JobState::Finished,
                    now,
                );
                let event = JobEvent::ProgramEnded { attempt: number };
                self.end_program(ending, event, attempt, (outcome, events, now))
                    .await
            }
            AttemptEnd::Killed(outcome) => {
                let ending = Ending::new(
                    attempt,
                    FromStates("cancelling", "cancelling"),
                    JobState::Cancelled,
                    now,
                );
                let event = JobEvent::ProgramKilled { attempt: number };
                self.end_program(ending, event, attempt, (outcome, events, now))
                    .await
            }
            AttemptEnd::Faulted { failure, retry } => {
                let mut writers = self.turn().await;
                let at = self.standing(&mut writers, attempt.job).await?;
                let at = at.ok_or(StoreError::NotFound)?;
                let event = JobEvent::AttemptFaulted {
                    attempt: number,
                    retry,
                };
                let notes = Notes {
                    events,
                    result: JobResult::Failed(failure),
                };
                let changed = self.apply(&mut writers, &at, (event, now), notes).await?;
                Ok((changed.state, changed.events))
            }
        }
    }
}

impl SqliteStore {
    /// The program is gone: what follows does not depend on anything stored, so nothing is read first.
    async fn end_program(
        &self,
        ending: Ending,
        event: JobEvent,
        attempt: AttemptRef,
        (outcome, events, now): (Box<Outcome>, Vec<EventBody>, Timestamp),
    ) -> Result<(JobState, Vec<JobEventRecord>), StoreError> {
        let notes = Notes {
            events,
            result: JobResult::Ran(outcome),
        };
        let written = {
            let mut writers = self.turn().await;
            let durability = self.forget_durability(attempt.job);
            ending.write(self, &mut writers, durability, notes).await
        };
        match written {
            Ok(changed) => Ok((changed.state, changed.events)),
            Err(StoreError::Refused(refused)) => {
                self.refusal(attempt.job, event, now).await?;
                Err(refused.into())
            }
            Err(other) => Err(other),
        }
    }
}

fn append_statement(
    sql: &'static str,
    attempt: AttemptRef,
    now: Timestamp,
    batch: &mut EventBatch,
) -> super::writers::Statement {
    let (list, bodies) = batch.take_arguments();
    sqlx::query(sql)
        .bind(attempt.job.as_bytes().to_vec())
        .bind(i64::from(attempt.attempt))
        .bind(now.as_millis())
        .bind(list)
        .bind(bodies)
}

fn gap(trim: Trim) -> EventBody {
    EventBody::Gap {
        from_seq: trim.from_seq,
        to_seq: trim.to_seq,
        bytes: trim.bytes,
        reason: GapReason::OutputKept,
    }
}
