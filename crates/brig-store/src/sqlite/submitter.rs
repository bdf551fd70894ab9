//! Accepting and cancelling jobs.

use super::change::{Notes, encoding};
use super::{SqliteStore, error, sql};
use crate::row;
use brig_core::event::JobEventRecord;
use brig_core::job::{JobEvent, JobState};
use brig_core::store::{IdempotencyKey, JobResult, JobSubmitter, NewJob, StoreError, Submitted};
use brig_core::{JobId, TenantId, Timestamp};
use sqlx::sqlite::SqliteRow;

#[async_trait::async_trait]
impl JobSubmitter for SqliteStore {
    async fn submit(&self, job: NewJob, now: Timestamp) -> Result<Submitted, StoreError> {
        let statement = submit_statement(&job, now)?;
        let rows = {
            let mut writers = self.turn().await;
            writers.run(job.spec.durability, statement).await
        };
        let rows = rows.map_err(|error| {
            // The only reference of a submit that can be missing is a stored file that the spec names.
            if error::names_a_missing_row(&error) {
                StoreError::NotFound
            } else {
                self.errors.of("store a job")(error)
            }
        })?;
        match rows.first() {
            Some(found) => submitted(&job, found),
            None => Err(row::damaged("a submit", "no answer")),
        }
    }

    async fn cancel(
        &self,
        tenant: &TenantId,
        job: JobId,
        now: Timestamp,
    ) -> Result<(JobState, Vec<JobEventRecord>), StoreError> {
        let mut writers = self.turn().await;
        let at = self
            .standing(&mut writers, job)
            .await?
            .filter(|at| at.tenant == *tenant)
            .ok_or(StoreError::NotFound)?;
        let unchanged = at.state.is_terminal() || matches!(at.state, JobState::Cancelling(_));
        if unchanged {
            return Ok((at.state, Vec::new()));
        }
        let notes = Notes {
            events: Vec::new(),
            result: JobResult::CancelledInQueue,
        };
        let changed = self
            .apply(&mut writers, &at, (JobEvent::CancelRequested, now), notes)
            .await?;
        Ok((changed.state, changed.events))
    }
}

fn submit_statement(job: &NewJob, now: Timestamp) -> Result<super::writers::Statement, StoreError> {
    let spec = &job.spec;
    let failed = encoding("encode a job");
    let labels = serde_json::to_string(&spec.labels).map_err(&failed)?;
    let text = serde_json::to_string(spec).map_err(&failed)?;
    let files: Vec<String> = spec
        .stored_files()
        .map(|file| file.to_string().replace('-', ""))
        .collect();
    let files = serde_json::to_string(&files).map_err(&failed)?;
    let queue_timeout = i64::try_from(spec.queue_timeout.as_millis()).unwrap_or(i64::MAX / 2);
    let key = job.idempotency.as_ref();
    Ok(sqlx::query(sql::SUBMIT)
        .bind(job.id.as_bytes().to_vec())
        .bind(job.tenant.as_str().to_owned())
        .bind(job.created_by.clone())
        .bind(now.as_millis())
        .bind(labels)
        .bind(i64::from(spec.priority))
        .bind(row::durability_word(spec.durability))
        .bind(i64::from(spec.retry.max_attempts))
        // A queue time-out below the clock's tick is one tick.
        .bind(queue_timeout.max(1))
        .bind(key.map(|key| key.method.clone()))
        .bind(key.map(|key| key.key.clone()))
        .bind(key.map(|key| key.body_digest.to_vec()))
        .bind(i64::from(job.queue_limit))
        .bind(text)
        .bind(files))
}

/// What the first row of the submit tells.
fn submitted(job: &NewJob, found: &SqliteRow) -> Result<Submitted, StoreError> {
    let known: Option<&[u8]> = row::column(found, "known_job")?;
    if let (Some(known), Some(IdempotencyKey { body_digest, .. })) = (known, &job.idempotency) {
        let digest: &[u8] = row::column(found, "known_digest")?;
        let known: [u8; 16] = known
            .try_into()
            .map_err(|_wrong_length| row::damaged("an idempotency key", "its job id"))?;
        return if digest == body_digest {
            Ok(Submitted::Existing(JobId::from_bytes(known)))
        } else {
            Err(StoreError::KeyReused)
        };
    }
    let queued: i64 = row::column(found, "queued")?;
    if queued < i64::from(job.queue_limit) {
        Ok(Submitted::New(job.id))
    } else {
        Err(StoreError::QueueFull {
            queued: u32::try_from(queued).unwrap_or(u32::MAX),
            limit: job.queue_limit,
        })
    }
}
