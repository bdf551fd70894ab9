//! Housekeeping: what became due, what died, what is too old.

use super::change::Notes;
use super::writers::Statement;
use super::{SqliteStore, sql};
use crate::row::{self, Standing};
use brig_core::job::{JobEvent, JobState};
use brig_core::outcome::Failure;
use brig_core::spec::Durability;
use brig_core::store::{Changed, JobKeeper, JobResult, StoreError};
use brig_core::{FileId, Timestamp, WorkerId};

/// Jobs in one step, so that a long round of housekeeping lets others write between its steps.
const STEP: i64 = 100;

#[async_trait::async_trait]
impl JobKeeper for SqliteStore {
    async fn expire_leases(&self, now: Timestamp) -> Result<Vec<Changed>, StoreError> {
        let due = || sqlx::query(sql::LEASES_EXPIRED).bind(now.as_millis()).bind(STEP);
        let event = |_: &Standing| JobEvent::LeaseExpired;
        let failure = |at: &Standing| Failure::Interrupted {
            retryable: true,
            reason: format!(
                "the lease of attempt {} ran out: its worker is gone or stuck",
                at.attempts
            ),
        };
        self.change_all(due, event, failure, now).await
    }

    async fn expire_queue(&self, now: Timestamp) -> Result<Vec<Changed>, StoreError> {
        let due = || sqlx::query(sql::QUEUE_EXPIRED).bind(now.as_millis()).bind(STEP);
        let event = |_: &Standing| JobEvent::QueueExpired;
        self.change_all(due, event, |_| Failure::QueueExpired, now).await
    }

    async fn recover(&self, alive: WorkerId, now: Timestamp) -> Result<Vec<Changed>, StoreError> {
        let lost = || {
            sqlx::query(sql::LOST_WORKERS)
                .bind(alive.as_bytes().to_vec())
                .bind(STEP)
        };
        let event = |at: &Standing| match at.state {
            JobState::Running(lease) | JobState::Cancelling(lease) => {
                JobEvent::WorkerLost { worker: lease.worker }
            }
            JobState::Queued { .. } | JobState::Finished | JobState::Failed | JobState::Cancelled => {
                JobEvent::WorkerLost { worker: alive }
            }
        };
        let failure = |_: &Standing| Failure::Interrupted {
            retryable: true,
            reason: "the daemon that ran it ended".to_owned(),
        };
        self.change_all(lost, event, failure, now).await
    }

    async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<i64> = sqlx::query_scalar(sql::NEXT_EXPIRY)
            .fetch_one(&self.readers)
            .await
            .map_err(self.errors.of("find the next expiry"))?;
        Ok(at.map(Timestamp::from_millis))
    }

    async fn purge(
        &self,
        before: Timestamp,
        keep: u64,
        keys_before: Timestamp,
    ) -> Result<Vec<FileId>, StoreError> {
        let cutoff = sqlx::query(sql::PURGE_CUTOFF)
            .bind(i64::try_from(keep).unwrap_or(i64::MAX))
            .fetch_optional(&self.readers)
            .await
            .map_err(self.errors.of("find what is beyond retention"))?;
        let (ended, id) = match &cutoff {
            Some(found) => (
                row::column::<Option<i64>>(found, "ended")?,
                row::job_id(found)?.as_bytes().to_vec(),
            ),
            None => (None, Vec::new()),
        };
        let jobs = || {
            sqlx::query(sql::PURGE_JOBS)
                .bind(before.as_millis())
                .bind(ended)
                .bind(id.clone())
                .bind(STEP)
        };
        while !self.step("remove old jobs", jobs()).await?.is_empty() {}
        let keys = || {
            sqlx::query(sql::PURGE_KEYS)
                .bind(keys_before.as_millis())
                .bind(STEP)
        };
        while !self.step("remove old idempotency keys", keys()).await?.is_empty() {}
        let files = || sqlx::query(sql::PURGE_FILES).bind(before.as_millis()).bind(STEP);
        let mut gone = Vec::new();
        loop {
            let rows = self.step("remove old files", files()).await?;
            if rows.is_empty() {
                return Ok(gone);
            }
            for found in &rows {
                gone.push(row::file_id(found)?);
            }
        }
    }
}

impl SqliteStore {
    async fn step(
        &self,
        act: &'static str,
        statement: Statement,
    ) -> Result<Vec<sqlx::sqlite::SqliteRow>, StoreError> {
        self.write(act, Durability::Process, statement).await
    }

    /// Changes every job that `due` finds, each in a transaction of its own.
    async fn change_all(
        &self,
        due: impl Fn() -> Statement + Send + Sync,
        event: impl Fn(&Standing) -> JobEvent + Send + Sync,
        failure: impl Fn(&Standing) -> Failure + Send + Sync,
        now: Timestamp,
    ) -> Result<Vec<Changed>, StoreError> {
        let mut changed = Vec::new();
        loop {
            let mut writers = self.turn().await;
            let rows = writers
                .run(Durability::Process, due())
                .await
                .map_err(self.errors.of("find jobs that are due"))?;
            if rows.is_empty() {
                return Ok(changed);
            }
            for found in &rows {
                let at = row::standing(found)?;
                let notes = Notes {
                    events: Vec::new(),
                    result: JobResult::Failed(failure(&at)),
                };
                changed.push(self.apply(&mut writers, &at, (event(&at), now), notes).await?);
            }
        }
    }
}
