//! The port of the durable store: one store, five roles. One conformance suite runs against every adapter.
//!
//! Every change of a job is one transaction, guarded by its state and attempt, that also writes the job's
//! events and gives them their numbers. Nothing is told to a caller before it is committed.

use crate::event::{EventBody, JobEventRecord};
use crate::fault::Fault;
use crate::id::{FileId, JobId, TenantId, WorkerId};
use crate::job::{JobState, Refused, Retry};
use crate::outcome::{Failure, Outcome};
use crate::spec::JobSpec;
use crate::time::Timestamp;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a job ended, beside its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobResult {
    /// The program ran (also when it was cancelled while it ran).
    Ran(Box<Outcome>),
    /// Brig could not run it.
    Failed(Failure),
    /// Cancelled before it started.
    CancelledInQueue,
}

impl JobResult {
    /// The `kind` word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ran(outcome) => outcome.verdict.kind(),
            Self::Failed(failure) => failure.kind(),
            Self::CancelledInQueue => "cancelled",
        }
    }
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Id.
    pub id: JobId,
    /// Whose.
    pub tenant: TenantId,
    /// Who submitted it, in the words of the authentication.
    pub created_by: String,
    /// When it was accepted.
    pub created: Timestamp,
    /// What runs. Secrets are not there after a restart.
    pub spec: JobSpec,
    /// Where it stands.
    pub state: JobState,
    /// Attempts started so far.
    pub attempts: u32,
    /// When the latest attempt was claimed.
    pub started: Option<Timestamp>,
    /// When it became terminal.
    pub ended: Option<Timestamp>,
    /// Its result, once terminal.
    pub result: Option<JobResult>,
    /// Number of its latest event.
    pub last_seq: u64,
}

/// A job to be stored.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Id, chosen by the engine.
    pub id: JobId,
    /// Whose.
    pub tenant: TenantId,
    /// Who submits it.
    pub created_by: String,
    /// What runs.
    pub spec: JobSpec,
    /// Key for retried submits, with the method it belongs to and the digest of the whole request.
    pub idempotency: Option<IdempotencyKey>,
    /// Most queued jobs of this tenant; more is [`StoreError::QueueFull`].
    pub queue_limit: u32,
}

/// A key under which a submit is carried out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// `Execute`, `Submit`…
    pub method: String,
    /// The caller's key, 1 to 255 bytes.
    pub key: String,
    /// SHA-256 of the request without secrets.
    pub body_digest: [u8; 32],
}

/// What became of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// A new job, with the number of its first event.
    New(JobId),
    /// The job of an earlier request with the same key and body.
    Existing(JobId),
}

/// A claimed job.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The job, in state running.
    pub job: Job,
    /// The fencing token.
    pub attempt: u32,
}

/// One attempt of one job: what a worker shows to be allowed to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptRef {
    /// Which job.
    pub job: JobId,
    /// The fencing token.
    pub attempt: u32,
}

/// How an attempt ended, for the store.
#[derive(Debug, Clone)]
pub enum AttemptEnd {
    /// The program ended with a verdict other than cancelled.
    Finished(Box<Outcome>),
    /// It was killed because of the cancellation.
    Killed(Box<Outcome>),
    /// Brig could not run it.
    Faulted {
        /// Why.
        failure: Failure,
        /// Whether another attempt may be made.
        retry: Retry,
    },
}

/// Which events to drop because more output was produced than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// First number to drop; a gap record takes this number.
    pub from_seq: u64,
    /// Last number to drop.
    pub to_seq: u64,
    /// Output bytes among them (including an earlier gap's that this one swallows).
    pub bytes: u64,
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// State words; empty is all.
    pub states: Vec<String>,
    /// Labels that must all be there.
    pub labels: BTreeMap<String, String>,
    /// Who submitted; `None` is anyone.
    pub created_by: Option<String>,
}

/// One page of jobs, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Pass to the next call; `None` at the end. Opaque.
    pub next: Option<String>,
}

/// A stored file's record; its bytes are the daemon's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Id.
    pub id: FileId,
    /// Whose.
    pub tenant: TenantId,
    /// Name that the uploader or the program gave.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// When it was complete.
    pub created: Timestamp,
    /// The job that produced it, if any.
    pub job: Option<JobId>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The event does not apply to the job's state.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// No such job or file for this tenant.
    #[error("not found")]
    NotFound,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used before with a different request")]
    KeyReused,
    /// Too many queued jobs of this tenant.
    #[error("the queue is full: {queued} jobs are waiting, at most {limit} may")]
    QueueFull {
        /// Waiting now.
        queued: u32,
        /// At most.
        limit: u32,
    },
    /// A page token that this store did not make.
    #[error("not a page token of this list")]
    InvalidPageToken,
    /// Another daemon uses this store.
    #[error(
        "another daemon uses the data directory {path} (its lock is held); stop it or choose another --data"
    )]
    Locked {
        /// Which.
        path: String,
    },
    /// No room on the disk.
    #[error("the disk of the data directory is full")]
    DiskFull,
    /// The database failed.
    #[error("failed to {act}")]
    Database {
        /// What was being done.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stored record cannot be read.
    #[error("the record of {what} is damaged: {detail}")]
    Damaged {
        /// Of what.
        what: String,
        /// How.
        detail: String,
    },
}

impl StoreError {
    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(_) | Self::NotFound | Self::KeyReused | Self::InvalidPageToken => Fault::Caller,
            Self::QueueFull { .. } => Fault::Busy,
            Self::DiskFull => Fault::Host,
            Self::Locked { .. } | Self::Damaged { .. } => Fault::Host,
            Self::Database { .. } => Fault::Host,
        }
    }
}

/// Accepts jobs.
#[async_trait]
pub trait JobSubmitter: Send + Sync {
    /// Stores a job with its `Queued` event, in one transaction, as durable as its spec asks.
    async fn submit(&self, job: NewJob, now: Timestamp) -> Result<Submitted, StoreError>;
    /// Asks for cancellation: queued → cancelled, running → cancelling, otherwise unchanged. Idempotent; gives
    /// the state afterwards and the events written.
    async fn cancel(
        &self,
        tenant: &TenantId,
        job: JobId,
        now: Timestamp,
    ) -> Result<(JobState, Vec<JobEventRecord>), StoreError>;
}

/// Works on jobs.
#[async_trait]
pub trait JobClaimer: Send + Sync {
    /// The next due job: fair across tenants, then by priority, then by age.
    async fn claim(
        &self,
        worker: WorkerId,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<Claim>, StoreError>;
    /// Renews the lease; gives the state, so that a cancellation is seen even when its notice was missed.
    async fn renew(
        &self,
        attempt: AttemptRef,
        lease: Duration,
        now: Timestamp,
    ) -> Result<JobState, StoreError>;
    /// Appends events of a running attempt, numbers them, and drops what `trim` names.
    async fn append(
        &self,
        attempt: AttemptRef,
        events: Vec<EventBody>,
        trim: Option<Trim>,
        now: Timestamp,
    ) -> Result<Vec<JobEventRecord>, StoreError>;
    /// Ends the attempt: the new state, the result and the last events, in one transaction, as durable as the
    /// job's spec asks. `events` come before the terminal event, which the store adds.
    async fn end(
        &self,
        attempt: AttemptRef,
        end: AttemptEnd,
        events: Vec<EventBody>,
        now: Timestamp,
    ) -> Result<(JobState, Vec<JobEventRecord>), StoreError>;
}

/// Reads jobs.
#[async_trait]
pub trait JobReader: Send + Sync {
    /// One job.
    async fn get(&self, tenant: &TenantId, job: JobId) -> Result<Job, StoreError>;
    /// A page, newest first, at most `limit`.
    async fn list(
        &self,
        tenant: &TenantId,
        filter: &JobFilter,
        limit: u32,
        page: Option<&str>,
    ) -> Result<JobPage, StoreError>;
    /// Events with `seq >= from`, in order, at most `limit` and about 2 MiB. Dropped ones appear as one gap.
    async fn events(
        &self,
        tenant: &TenantId,
        job: JobId,
        from: u64,
        limit: u32,
    ) -> Result<Vec<JobEventRecord>, StoreError>;
    /// Jobs of every tenant by state word, for metrics and health.
    async fn counts(&self) -> Result<BTreeMap<String, u64>, StoreError>;
}

/// A job that maintenance changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub job: JobId,
    /// Its state now.
    pub state: JobState,
    /// The events written.
    pub events: Vec<JobEventRecord>,
}

/// Housekeeping.
#[async_trait]
pub trait JobKeeper: Send + Sync {
    /// Requeues or fails jobs whose lease ran out.
    async fn expire_leases(&self, now: Timestamp) -> Result<Vec<Changed>, StoreError>;
    /// Fails jobs whose queue time-out passed.
    async fn expire_queue(&self, now: Timestamp) -> Result<Vec<Changed>, StoreError>;
    /// Requeues or fails every running job of workers other than `alive`: called at start by a daemon that holds
    /// the data directory's lock, so every other worker is dead and its cells are gone.
    async fn recover(&self, alive: WorkerId, now: Timestamp) -> Result<Vec<Changed>, StoreError>;
    /// When the next lease or queue time-out ends, so that maintenance can sleep until then.
    async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError>;
    /// Removes terminal jobs that ended before `before`, and the oldest beyond `keep`; idempotency keys older than
    /// `keys_before`. Gives the files that nothing refers to any more.
    async fn purge(
        &self,
        before: Timestamp,
        keep: u64,
        keys_before: Timestamp,
    ) -> Result<Vec<FileId>, StoreError>;
}

/// Records of stored files.
#[async_trait]
pub trait FileIndex: Send + Sync {
    /// Remembers a complete file.
    async fn put_file(&self, file: FileRecord) -> Result<(), StoreError>;
    /// One file of a tenant.
    async fn get_file(&self, tenant: &TenantId, file: FileId) -> Result<FileRecord, StoreError>;
    /// Files of a tenant, newest first; of one job where given.
    async fn list_files(
        &self,
        tenant: &TenantId,
        job: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<FileRecord>, StoreError>;
    /// Forgets a file. A file that a queued or running job needs is kept: [`Refused::AlreadyClaimed`].
    async fn remove_file(&self, tenant: &TenantId, file: FileId) -> Result<(), StoreError>;
    /// Bytes stored for a tenant, with [`FILE_OVERHEAD`] for each file.
    async fn stored_bytes(&self, tenant: &TenantId) -> Result<u64, StoreError>;
    /// Every known file id, to find orphans on disk.
    async fn all_files(&self) -> Result<Vec<FileId>, StoreError>;
}

/// What every stored file counts besides its content, bytes: its directory entry, inode and record. Without it,
/// files of no length would be free, and the inodes of the host anybody's.
pub const FILE_OVERHEAD: u64 = 4_096;

/// The whole store.
pub trait Store: JobSubmitter + JobClaimer + JobReader + JobKeeper + FileIndex {}

impl<T: JobSubmitter + JobClaimer + JobReader + JobKeeper + FileIndex> Store for T {}
