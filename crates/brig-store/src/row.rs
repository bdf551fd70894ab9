//! Rows ↔ domain types. A row that cannot be read is damage, never a default.

use crate::event_row;
use brig_core::event::{EventBody, JobEventRecord};
use brig_core::job::{JobState, Lease, RequeueRules};
use brig_core::spec::Durability;
use brig_core::store::{FileRecord, Job, JobResult, StoreError};
use brig_core::{FileId, JobId, TenantId, Timestamp, WorkerId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Type, decode::Decode};

/// What decides the next state of a job.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) job: JobId,
    pub(crate) tenant: TenantId,
    pub(crate) state: JobState,
    pub(crate) attempts: u32,
    pub(crate) rules: RequeueRules,
    pub(crate) durability: Durability,
}

/// A column, or damage.
pub(crate) fn column<'r, T>(row: &'r SqliteRow, name: &'static str) -> Result<T, StoreError>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(name)
        .map_err(|error| damaged("a row", format!("{name}: {error}")))
}

pub(crate) fn damaged(what: &str, detail: impl ToString) -> StoreError {
    StoreError::Damaged {
        what: what.to_owned(),
        detail: detail.to_string(),
    }
}

fn unsigned<T: TryFrom<i64>>(row: &SqliteRow, name: &'static str) -> Result<T, StoreError> {
    let number: i64 = column(row, name)?;
    T::try_from(number).map_err(|_out_of_range| damaged("a row", format!("{name}: {number} is out of range")))
}

fn bytes<const N: usize>(row: &SqliteRow, name: &'static str) -> Result<[u8; N], StoreError> {
    let bytes: &[u8] = column(row, name)?;
    bytes
        .try_into()
        .map_err(|_wrong_length| damaged("a row", format!("{name}: {} bytes", bytes.len())))
}

fn optional_time(row: &SqliteRow, name: &'static str) -> Result<Option<Timestamp>, StoreError> {
    let millis: Option<i64> = column(row, name)?;
    Ok(millis.map(Timestamp::from_millis))
}

fn time(row: &SqliteRow, name: &'static str) -> Result<Timestamp, StoreError> {
    column(row, name).map(Timestamp::from_millis)
}

pub(crate) fn job_id(row: &SqliteRow) -> Result<JobId, StoreError> {
    bytes(row, "id").map(JobId::from_bytes)
}

pub(crate) fn file_id(row: &SqliteRow) -> Result<FileId, StoreError> {
    bytes(row, "id").map(FileId::from_bytes)
}

fn tenant(row: &SqliteRow) -> Result<TenantId, StoreError> {
    let name: String = column(row, "tenant")?;
    TenantId::try_from(name).map_err(|invalid| damaged("a tenant", invalid))
}

pub(crate) fn last_seq(row: &SqliteRow) -> Result<u64, StoreError> {
    unsigned(row, "last_seq")
}

/// The state from its word and the columns that belong to it.
pub(crate) fn state(row: &SqliteRow) -> Result<JobState, StoreError> {
    let lease = || -> Result<Lease, StoreError> {
        Ok(Lease {
            worker: WorkerId::from_bytes(bytes(row, "worker")?),
            attempt: unsigned(row, "attempts")?,
            until: time(row, "lease_until")?,
        })
    };
    match column::<&str>(row, "state")? {
        "queued" => Ok(JobState::Queued {
            attempts_used: unsigned(row, "attempts")?,
            not_before: time(row, "not_before")?,
            expires: time(row, "expires")?,
        }),
        "running" => Ok(JobState::Running(lease()?)),
        "cancelling" => Ok(JobState::Cancelling(lease()?)),
        "finished" => Ok(JobState::Finished),
        "failed" => Ok(JobState::Failed),
        "cancelled" => Ok(JobState::Cancelled),
        other => Err(damaged("a job", format!("unknown state {other:?}"))),
    }
}

pub(crate) fn standing(row: &SqliteRow) -> Result<Standing, StoreError> {
    Ok(Standing {
        job: job_id(row)?,
        tenant: tenant(row)?,
        state: state(row)?,
        attempts: unsigned(row, "attempts")?,
        rules: RequeueRules {
            max_attempts: unsigned(row, "max_attempts")?,
            queue_timeout_millis: column(row, "queue_timeout_ms")?,
        },
        durability: durability(column(row, "durability")?)?,
    })
}

/// The word of a durability in the database.
pub(crate) fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::Process => "process",
        Durability::PowerLoss => "power_loss",
    }
}

fn durability(word: &str) -> Result<Durability, StoreError> {
    match word {
        "process" => Ok(Durability::Process),
        "power_loss" => Ok(Durability::PowerLoss),
        other => Err(damaged("a job", format!("unknown durability {other:?}"))),
    }
}

pub(crate) fn job(row: &SqliteRow) -> Result<Job, StoreError> {
    let id = job_id(row)?;
    let unreadable = |error: serde_json::Error| damaged(&format!("job {id}"), error);
    let result: Option<&str> = column(row, "result")?;
    let result: Option<JobResult> = result.map(serde_json::from_str).transpose().map_err(unreadable)?;
    Ok(Job {
        id,
        tenant: tenant(row)?,
        created_by: column(row, "created_by")?,
        created: time(row, "created")?,
        spec: serde_json::from_str(column(row, "spec")?).map_err(unreadable)?,
        state: state(row)?,
        attempts: unsigned(row, "attempts")?,
        started: optional_time(row, "started")?,
        ended: optional_time(row, "ended")?,
        result,
        last_seq: last_seq(row)?,
    })
}

/// An event of `job`; `None` for the row that only says that the job exists. A gap that began before `from` is
/// shown from there on, so that a watcher sees no number twice.
pub(crate) fn event(row: &SqliteRow, job: JobId, from: u64) -> Result<Option<JobEventRecord>, StoreError> {
    if column::<Option<i64>>(row, "seq")?.is_none() {
        return Ok(None);
    }
    let seq: u64 = unsigned(row, "seq")?;
    let body = event_row::decode(column(row, "kind")?, column(row, "body")?)
        .map_err(|error| damaged(&format!("event {seq} of job {job}"), error))?;
    let mut record = JobEventRecord {
        job,
        seq,
        attempt: unsigned(row, "attempt")?,
        time: time(row, "time")?,
        body,
    };
    if let EventBody::Gap { from_seq, .. } = &mut record.body {
        *from_seq = (*from_seq).max(from);
        record.seq = seq.max(from);
    }
    Ok(Some(record))
}

pub(crate) fn file(row: &SqliteRow) -> Result<FileRecord, StoreError> {
    let job = match column::<Option<&[u8]>>(row, "job")? {
        Some(_) => Some(JobId::from_bytes(bytes(row, "job")?)),
        None => None,
    };
    Ok(FileRecord {
        id: file_id(row)?,
        tenant: tenant(row)?,
        name: column(row, "name")?,
        size: unsigned(row, "size")?,
        sha256: bytes(row, "sha256")?,
        created: time(row, "created")?,
        job,
    })
}
