//! The port of everything that can run a program: the jail, a container engine, a scripted fake.
//!
//! A backend is a factory of environments; an environment is one leased cell for one job:
//! `open → upload → exec → download → destroy`, and `destroy` in every case.

use crate::event::StreamName;
use crate::exit::{ExitFacts, KillCause};
use crate::fault::Fault;
use crate::id::{FileId, JobId};
use crate::limits::{Bytes, Limits, LimitsRequest};
use crate::outcome::{CollectedFile, Exception, Failure, SkippedFile};
use crate::receipt::Receipt;
use crate::spec::{
    BackendName, FileMode, ImageName, IsolationLevel, NetworkPolicy, OutputPattern, WorkspacePath,
};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which cell is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellRequest {
    /// For which job: to find its cell from outside. Nothing that the program can see.
    pub job: JobId,
    /// Which backend.
    pub backend: BackendName,
    /// Which image.
    pub image: ImageName,
    /// Which level.
    pub isolation: IsolationLevel,
    /// Which network.
    pub network: NetworkPolicy,
    /// Which limits.
    pub limits: Limits,
}

/// Bytes at rest: in memory, or in an open file of the daemon.
#[derive(Debug)]
pub enum Bulk {
    /// In memory.
    Memory(Vec<u8>),
    /// From the start of this file.
    File(std::fs::File),
}

/// A file to place, with its content at hand.
#[derive(Debug)]
pub struct Upload {
    /// Where.
    pub path: WorkspacePath,
    /// What.
    pub content: Bulk,
    /// Permission.
    pub mode: FileMode,
}

/// What to start in the cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Python source through the runner.
    Python {
        /// The source.
        code: Vec<u8>,
        /// Where to put it in the workspace; `None` behaves like `python3 -c`.
        file: Option<WorkspacePath>,
        /// `sys.argv[1:]`.
        args: Vec<String>,
    },
    /// A command.
    Command {
        /// Name or path, then arguments.
        argv: Vec<String>,
    },
}

/// A program with everything that it needs.
#[derive(Debug)]
pub struct Execution {
    /// What to start.
    pub start: Start,
    /// Environment entries beside the documented ones; secrets included.
    pub env: Vec<(String, String)>,
    /// Values that are redacted from all output before it reaches the sink.
    pub redact: Vec<String>,
    /// Standard input.
    pub stdin: Bulk,
    /// When the cell kills itself without a renewal.
    pub lease_until: Instant,
}

/// Receives output while the program runs.
#[async_trait]
pub trait OutputSink: Send + Sync {
    /// A piece of output, already bounded and redacted. May wait; a backend that cannot wait drops and counts.
    async fn output(&self, piece: OutputPiece);
}

/// A piece of output, or the news that some was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPiece {
    /// Of which stream.
    pub stream: StreamName,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Acts on a running program from another task. Never blocks.
pub trait CellControl: Send + Sync + std::fmt::Debug {
    /// Kills every process of the cell. The first cause wins.
    fn kill(&self, cause: KillCause);
    /// The lease was renewed: the cell kills itself at this moment, and no sooner.
    fn renew(&self, lease_until: Instant);
}

/// What only the program itself can tell. Bounded, and never trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramReport {
    /// An uncaught exception.
    pub exception: Option<Exception>,
    /// `repr` of the last expression's value.
    pub value: Option<String>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Facts from outside.
    pub facts: ExitFacts,
    /// What the program said of itself.
    pub report: ProgramReport,
    /// Bytes that it wrote to stdout.
    pub stdout_bytes: u64,
    /// Bytes that it wrote to stderr.
    pub stderr_bytes: u64,
    /// Sentences for the user: which limit was hit and how to raise it, why an import failed.
    pub hints: Vec<String>,
}

/// Limits on what is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectLimits {
    /// Most files.
    pub files: u32,
    /// Most bytes together.
    pub bytes: Bytes,
    /// Deepest directory.
    pub depth: u32,
    /// Longest time for everything.
    pub time: Duration,
}

impl Default for CollectLimits {
    fn default() -> Self {
        Self {
            files: 1_024,
            bytes: Bytes::gib(1),
            depth: 32,
            time: Duration::from_secs(30),
        }
    }
}

/// Receives collected files, one at a time.
#[async_trait]
pub trait FileSink: Send {
    /// A file begins.
    async fn begin(&mut self, path: &str) -> Result<(), std::io::Error>;
    /// Its next bytes.
    async fn data(&mut self, bytes: &[u8]) -> Result<(), std::io::Error>;
    /// It is complete; gives the id under which it is kept.
    async fn end(&mut self) -> Result<FileId, std::io::Error>;
    /// It is not complete and must be forgotten.
    async fn discard(&mut self);
}

/// What was collected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Files that were kept.
    pub files: Vec<CollectedFile>,
    /// Files that matched but were not kept.
    pub skipped: Vec<SkippedFile>,
}

/// Why a backend could not do its part. Never the program's fault.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The cell could not be built or the program not started.
    #[error("the cell could not be set up: {stage} ({item}): {}", std::io::Error::from_raw_os_error(*.errno))]
    Setup {
        /// Step.
        stage: String,
        /// Item of it, in words.
        item: String,
        /// Kernel's error number, 0 when none applies.
        errno: i32,
        /// What to do about it.
        remedy: String,
    },
    /// No such image.
    #[error("there is no image named {0}")]
    UnknownImage(String),
    /// The keeper is gone, and with it every cell: a daemon cannot go on.
    #[error("{0} is gone")]
    Lost(&'static str),
    /// The cell went away without being asked to: by hand, with its engine, with the engine's broker. Others go on.
    #[error("{0}")]
    Interrupted(String),
    /// Something else broke.
    #[error("failed to {act}")]
    Io {
        /// What was being done.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The environment was used out of order or answered nonsense.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
}

impl BackendError {
    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Setup { .. } => Fault::Host,
            Self::UnknownImage(_) => Fault::Caller,
            Self::Lost(_) | Self::Interrupted(_) => Fault::Transient,
            Self::Io { .. } => Fault::Host,
            Self::Protocol(_) => Fault::Bug,
        }
    }

    /// The failure to record for the job.
    #[must_use]
    pub fn to_failure(&self, correlation_id: impl FnOnce() -> String) -> Failure {
        match self {
            Self::Setup {
                stage,
                item,
                errno,
                remedy,
            } => Failure::SetupError {
                stage: stage.clone(),
                item: item.clone(),
                errno: *errno,
                remedy: remedy.clone(),
            },
            Self::UnknownImage(name) => Failure::SetupError {
                stage: "image".to_owned(),
                item: name.clone(),
                errno: 0,
                remedy: "choose an image that `brig doctor` lists".to_owned(),
            },
            Self::Lost(what) => Failure::Interrupted {
                retryable: true,
                reason: format!("{what} is gone"),
            },
            Self::Interrupted(reason) => Failure::Interrupted {
                retryable: true,
                reason: reason.clone(),
            },
            Self::Io { .. } | Self::Protocol(_) => Failure::InternalError {
                correlation_id: correlation_id(),
            },
        }
    }
}

/// A host's layers, as a trial cell showed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// Layers of the best cell that this host gives.
    pub receipt: Receipt,
    /// Per level: what keeps it from working, if anything.
    pub levels: Vec<(IsolationLevel, Option<Obstacle>)>,
}

/// Something that keeps a level from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// What is missing.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// A backend as requests can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendOffer {
    /// Its name.
    pub name: BackendName,
    /// The image of requests that name none.
    pub default_image: ImageName,
    /// Every image that it has.
    pub images: Vec<ImageOffer>,
    /// What keeps it from working as it should, now.
    pub trouble: Option<Obstacle>,
}

/// How a backend is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Everything works.
    Serving,
    /// Cells can be had, and something is not as configured.
    Degraded,
    /// No cell can be had.
    Unavailable,
}

/// What is watched of a backend while a daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendState {
    /// Which.
    pub name: BackendName,
    /// How it is.
    pub condition: Condition,
    /// Why, where it is not serving.
    pub why: String,
    /// Cells that wait for a job, where that is known.
    pub ready_cells: Option<u32>,
}

/// An image as requests can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOffer {
    /// Its name.
    pub name: ImageName,
    /// Digest of its content, where known.
    pub digest: Option<String>,
    /// Defaults of jobs on it, in place of the daemon's.
    pub limits: LimitsRequest,
}

impl ImageOffer {
    /// The host's own interpreter: it has no digest.
    #[must_use]
    pub fn host() -> Self {
        Self {
            name: ImageName::host(),
            digest: None,
            limits: LimitsRequest::default(),
        }
    }
}

/// A factory of cells.
#[async_trait]
pub trait Backend: Send + Sync {
    /// `jail`, `docker` or `fake`.
    fn name(&self) -> &'static str;
    /// Which backends and images a request can name now, the default first; never empty.
    fn offers(&self) -> Vec<BackendOffer>;
    /// How each of them is now. Asked every second; one that cannot be troubled while it lives has nothing to add.
    fn states(&self) -> Vec<BackendState> {
        Vec::new()
    }
    /// Tries the host's layers in a throw-away cell.
    async fn probe(&self) -> Result<HostReport, BackendError>;
    /// Gives a cell.
    async fn open(&self, request: &CellRequest) -> Result<Box<dyn Environment>, BackendError>;
}

/// One leased cell: serves one job and is destroyed.
#[async_trait]
pub trait Environment: Send {
    /// What isolates it.
    fn receipt(&self) -> &Receipt;
    /// Kill and renew from another task.
    fn control(&self) -> Arc<dyn CellControl>;
    /// Places files, before `exec`.
    async fn upload(&mut self, files: Vec<Upload>) -> Result<(), BackendError>;
    /// Starts the program and waits until every process of the cell is gone and all output was delivered.
    async fn exec(&mut self, execution: Execution, output: Arc<dyn OutputSink>)
    -> Result<Exit, BackendError>;
    /// Collects files, after `exec`, whatever the verdict.
    async fn download(
        &mut self,
        wanted: &[OutputPattern],
        limits: CollectLimits,
        sink: &mut dyn FileSink,
    ) -> Result<Collected, BackendError>;
    /// Kills what runs and frees everything. Returns when nothing is left.
    async fn destroy(self: Box<Self>) -> Result<(), BackendError>;
}
