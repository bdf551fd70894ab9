//! The engine: accepts jobs, runs them one per cell, and tells what happens. It knows no wire and no kernel.
//!
//! ```text
//!  submit ─▶ store ─▶ dispatch (slots) ─▶ run_attempt: open → upload → exec → download → judge → end
//!    │                    ▲ wake            │ journal (output, ledger)  │ lease (heartbeats)
//!    └────────────────────┘                 ▼                           ▼
//!  watch ◀── feeds ◀── publish, after every commit                 seat: cancel, shutdown
//! ```

pub(crate) mod cancel;
pub(crate) mod collector;
pub(crate) mod dispatch;
mod error;
pub(crate) mod execute;
pub(crate) mod files;
pub(crate) mod inputs;
pub(crate) mod lease;
pub(crate) mod ledger;
pub(crate) mod output;
pub(crate) mod run_attempt;
pub(crate) mod seat;
pub(crate) mod secrets;
pub(crate) mod submit;
pub(crate) mod verdict;
pub(crate) mod watch;

pub use error::EngineError;

use crate::maintenance::rescuer::ExpiryClock;
use crate::metrics::Metrics;
use brig_core::backend::HostReport;
use brig_core::limits::LimitsPolicy;
use brig_core::spec::IsolationLevel;
use brig_core::store::{Job, JobFilter, JobPage, Store};
use brig_core::{Backend, Bytes, EventBody, JobEventRecord, JobId, TenantId, WorkerId};
use files::FileDepot;
use seat::Seats;
use secrets::SecretVault;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use watch::{Feeds, Seen};

/// Who calls: every request belongs to one tenant and was sent by somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Whose jobs and files it may see.
    pub(crate) tenant: TenantId,
    /// Who it is, in the words of the authentication.
    pub(crate) name: String,
}

/// What the engine must know beside its ports.
#[derive(Debug, Clone)]
pub(crate) struct EngineSettings {
    /// Cells at once.
    pub(crate) max_concurrent: usize,
    /// Most queued jobs of a tenant.
    pub(crate) queue_limit: u32,
    /// Defaults and ceilings of jobs.
    pub(crate) limits: LimitsPolicy,
    /// Level of jobs that name none.
    pub(crate) isolation: IsolationLevel,
    /// How long a worker may be silent.
    pub(crate) lease: Duration,
    /// Most bytes of files a tenant may store.
    pub(crate) stored_bytes: Bytes,
    /// Where the bytes of files are.
    pub(crate) files: PathBuf,
}

/// Accepts, runs and tells. Shared by every request and every running job.
pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) settings: EngineSettings,
    pub(crate) worker: WorkerId,
    pub(crate) files: FileDepot,
    pub(crate) feeds: Feeds,
    pub(crate) secrets: SecretVault,
    pub(crate) seats: Seats,
    pub(crate) metrics: Metrics,
    pub(crate) expiry: ExpiryClock,
    /// Told when a job may be waiting.
    pub(crate) work: Notify,
    pub(crate) slots: Arc<Semaphore>,
    /// Every task of the engine, so that a shutdown can wait for them.
    pub(crate) tasks: TaskTracker,
    /// No job is accepted or started any more.
    pub(crate) draining: CancellationToken,
    /// Streams end, with a status that says why.
    pub(crate) streams_end: CancellationToken,
    /// The backend is gone for good.
    pub(crate) backend_lost: CancellationToken,
    stopping: AtomicBool,
    host: OnceCell<HostReport>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("worker", &self.worker)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine that runs nothing until [`dispatch::run`] is spawned.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        backend: Arc<dyn Backend>,
        settings: EngineSettings,
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            files: FileDepot::new(settings.files.clone(), Arc::clone(&store), settings.stored_bytes),
            slots: Arc::new(Semaphore::new(settings.max_concurrent)),
            store,
            backend,
            settings,
            worker: WorkerId::generate(),
            feeds: Feeds::default(),
            secrets: SecretVault::default(),
            seats: Seats::default(),
            metrics,
            expiry: ExpiryClock::default(),
            work: Notify::new(),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            streams_end: CancellationToken::new(),
            backend_lost: CancellationToken::new(),
            stopping: AtomicBool::new(false),
            host: OnceCell::new(),
        })
    }

    /// One job of the caller's tenant.
    pub(crate) async fn get(&self, tenant: &TenantId, job: JobId) -> Result<Job, EngineError> {
        Ok(self.store.get(tenant, job).await?)
    }

    /// A page of the caller's jobs.
    pub(crate) async fn list(
        &self,
        tenant: &TenantId,
        filter: &JobFilter,
        limit: u32,
        page: Option<&str>,
    ) -> Result<JobPage, EngineError> {
        Ok(self.store.list(tenant, filter, limit, page).await?)
    }

    /// What the host gives, tried once.
    pub(crate) async fn host(&self) -> Result<&HostReport, EngineError> {
        let probe = || async { self.backend.probe().await };
        Ok(self.host.get_or_try_init(probe).await?)
    }

    /// Tells watchers what was committed, in order. `ended` is the whole record where the caller has it at hand.
    pub(crate) fn publish(&self, records: Vec<JobEventRecord>, ended: Option<&Arc<Job>>) {
        for record in records {
            let job = record.job;
            let is_end = matches!(record.body, EventBody::Ended { .. });
            let seen = Seen {
                ended: ended.filter(|_| is_end).cloned(),
                record: Arc::new(record),
            };
            if is_end {
                self.secrets.forget(job);
                self.metrics.job_ended(&seen.record.body);
            }
            self.feeds.send(job, seen, is_end);
        }
    }

    /// Whether running jobs are being given up because the daemon stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// From now on running jobs are given up; what they end with says so.
    pub(crate) fn give_up_running(&self) {
        self.stopping.store(true, Ordering::Release);
        self.seats.kill_all(brig_core::KillCause::Abandoned);
    }
}
