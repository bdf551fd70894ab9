//! Cells in containers of an engine.
//!
//! ```text
//!  daemon (no power) ── protocol.rs ──▶ broker (alone opens the engine's socket) ──▶ engine ──▶ container
//!      └────────── the container's wire, relayed by the broker as bytes ──────────────────────▶ /.brig/init
//! ```
//!
//! The daemon's side: `broker_link.rs` asks for containers and hears what becomes of them, `wire.rs` and `mux.rs` turn
//! the two streams of a container into the channels of a cell, `cell.rs` is what differs from a cell of the jail, and
//! `facts.rs` what may be believed of its end.

pub mod broker;
mod broker_link;
mod cell;
pub mod examine;
mod facts;
mod mux;
pub mod protocol;
mod receipt;
mod wire;

pub use crate::cell::Compile;
pub use broker_link::{BackendHealth, Broker, Health};

use crate::cell::{CellEnvironment, Ends, Interpreter, compile};
use crate::images::{FoundImage, ImageCatalog, ImageMeta};
use crate::jail::cell_limits;
use crate::runner;
use brig_core::backend::{
    Backend, BackendError, BackendOffer, BackendState, CellRequest, Condition, Environment, HostReport,
    Obstacle,
};
use brig_core::limits::Limits;
use brig_core::receipt::Receipt;
use brig_core::spec::{BackendName, ImageName, IsolationLevel};
use broker_link::{Refusal, Wanted};
use cell::{BROKER_GONE, DockerCell, Layers};
use protocol::{HealthState, RootDigest, Trouble};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::debug;
use uuid::Uuid;

/// Longer than any container takes to be made, that of an image which has to be imported first included.
const OPEN_TIME: Duration = Duration::from_secs(300);

/// What the daemon knows of its engine.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// The configured backends, and the image of requests that name none.
    pub backends: Vec<(BackendName, ImageName)>,
    /// The images.
    pub catalog: ImageCatalog,
    /// See [`Compile`].
    pub compile: Compile,
}

/// Runs jobs in containers.
#[derive(Debug)]
pub struct DockerBackend {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    broker: Broker,
    config: DockerConfig,
    tasks: TaskTracker,
    /// RUNNER frames: source alone until a cell of the image has compiled it.
    runners: Mutex<HashMap<crate::images::RootDigest, RunnerFrame>>,
}

/// The RUNNER frame of an image.
#[derive(Debug, Clone)]
enum RunnerFrame {
    /// Source, while a cell compiles it, or because none could.
    Source,
    /// With the compiled form.
    Compiled(Arc<[u8]>),
}

impl DockerBackend {
    /// A backend behind this broker. Must be called in a runtime.
    #[must_use]
    pub fn new(broker: Broker, config: DockerConfig, tasks: &TaskTracker) -> DockerBackend {
        DockerBackend {
            shared: Arc::new(Shared {
                broker,
                config,
                tasks: tasks.clone(),
                runners: Mutex::default(),
            }),
        }
    }

    /// The broker behind this backend: to hear of its health.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.shared.broker
    }

    /// Has the runner compiled for the default image of every backend.
    ///
    /// # Errors
    /// A cell could not be had or gave no answer. Jobs run all the same.
    pub async fn warm_up(&self, limits: &Limits) -> Result<(), BackendError> {
        for (backend, image) in &self.shared.config.backends {
            let found = self.shared.find(image)?;
            self.shared.compile(backend, &found.meta, limits).await?;
        }
        Ok(())
    }
}

impl Shared {
    fn runners(&self) -> MutexGuard<'_, HashMap<crate::images::RootDigest, RunnerFrame>> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, image: &ImageName) -> Result<FoundImage, BackendError> {
        self.config
            .catalog
            .resolve(image)
            .map_err(|error| error.into_backend_error(&image.0))
    }

    async fn open(
        &self,
        backend: &BackendName,
        meta: &ImageMeta,
        limits: &Limits,
        job: Uuid,
    ) -> Result<(DockerCell, Ends, Layers), BackendError> {
        let malformed = |_not_one| BackendError::Protocol("a name that the engine broker does not take");
        let image = RootDigest::try_from(meta.digest.to_string())
            .map_err(|_not_one| BackendError::Protocol("a digest that the engine broker does not take"))?;
        let wanted = Wanted {
            image,
            backend: protocol::BackendName::try_from(backend.0.clone()).map_err(malformed)?,
            limits: cell_limits(limits),
            job,
            fresh: false,
        };
        let opened = match timeout(OPEN_TIME, self.broker.open(wanted)).await {
            Ok(opened) => opened.map_err(error)?,
            Err(_late) => return Err(BackendError::Protocol("the engine broker did not answer in time")),
        };
        let (cell, ends, layers) = DockerCell::new(self.broker.clone(), opened, limits, &self.tasks).await?;
        if !receipt::filter_is_in_force(&layers.receipt, &layers.posture) {
            return Err(BackendError::Setup {
                stage: "verify".to_owned(),
                item: format!("seccomp of {backend}: the engine applied no filter"),
                errno: 0,
                remedy: "use an engine that is built with seccomp, see docs/docker.md".to_owned(),
            });
        }
        Ok((cell, ends, layers))
    }

    /// Compiles the runner for an image, once.
    async fn compile(
        &self,
        backend: &BackendName,
        meta: &ImageMeta,
        limits: &Limits,
    ) -> Result<(), BackendError> {
        let before = self.runners().insert(meta.digest, RunnerFrame::Source);
        if let Some(before) = before {
            // Somebody else does it or has done it.
            self.runners().insert(meta.digest, before);
            return Ok(());
        }
        let (cell, ends, _layers) = self.open(backend, meta, limits, Uuid::nil()).await?;
        let compiled = compile::compile(cell, ends, &meta.python).await?;
        let frame = runner::runner_frame(Some(&compiled)).into();
        self.runners().insert(meta.digest, RunnerFrame::Compiled(frame));
        Ok(())
    }

    fn interpreter(&self, meta: &ImageMeta) -> Interpreter {
        let runner = match self.runners().get(&meta.digest) {
            Some(RunnerFrame::Compiled(frame)) => Arc::clone(frame),
            Some(RunnerFrame::Source) | None => runner::runner_frame(None).into(),
        };
        Interpreter {
            image: format!("{}@sha256:{}", meta.name, meta.digest),
            python: meta.python.clone(),
            env: meta.env.clone().into_iter().collect(),
            runner,
            remedy: "build the image again: `brig image build`",
        }
    }

    fn offer(&self, name: &BackendName, default_image: &ImageName) -> BackendOffer {
        BackendOffer {
            name: name.clone(),
            default_image: default_image.clone(),
            images: self.config.catalog.offers(),
            trouble: self.trouble(name),
        }
    }

    /// What keeps a backend from working as it should.
    fn trouble(&self, name: &BackendName) -> Option<Obstacle> {
        let state = self.state(name);
        (state.condition != Condition::Serving).then(|| Obstacle {
            problem: state.why,
            remedy: "`brig doctor` on the daemon's host says what it needs".to_owned(),
        })
    }

    /// How a backend is, as its broker last said.
    fn state(&self, name: &BackendName) -> BackendState {
        let state = |condition, why: &str, ready_cells| BackendState {
            name: name.clone(),
            condition,
            why: why.to_owned(),
            ready_cells,
        };
        let health = self.broker.health();
        let health = health.borrow();
        let Some(known) = health.as_ref() else {
            let why = "there is no engine broker now; it is being started again";
            return state(Condition::Unavailable, why, None);
        };
        let known = known.iter().find(|(known, _)| known.as_str() == name.as_str());
        // Nothing was heard yet: the first job would show.
        let Some((_, known)) = known else {
            return state(Condition::Serving, "", None);
        };
        let condition = match known.state {
            HealthState::Serving => Condition::Serving,
            HealthState::Degraded => Condition::Degraded,
            HealthState::Unavailable => Condition::Unavailable,
        };
        state(condition, &known.why, Some(known.counts.warm))
    }
}

fn error(refusal: Refusal) -> BackendError {
    match refusal {
        Refusal::Refused(Trouble {
            stage,
            item,
            errno,
            remedy,
        }) => BackendError::Setup {
            stage,
            item,
            errno,
            remedy,
        },
        Refusal::Lost => BackendError::Interrupted(BROKER_GONE.to_owned()),
        Refusal::Malformed => BackendError::Protocol("the engine broker's answer does not fit the request"),
    }
}

#[async_trait::async_trait]
impl Backend for DockerBackend {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn offers(&self) -> Vec<BackendOffer> {
        let backends = self.shared.config.backends.iter();
        backends
            .map(|(name, image)| self.shared.offer(name, image))
            .collect()
    }

    fn states(&self) -> Vec<BackendState> {
        let backends = self.shared.config.backends.iter();
        backends.map(|(name, _)| self.shared.state(name)).collect()
    }

    async fn probe(&self) -> Result<HostReport, BackendError> {
        let Some((name, image)) = self.shared.config.backends.first() else {
            return Err(BackendError::Protocol("no engine is configured"));
        };
        let wanted = protocol::BackendName::try_from(name.0.clone())
            .map_err(|_not_one| BackendError::Protocol("a name that the engine broker does not take"))?;
        let probed = self.shared.broker.probe(wanted).await.map_err(error)?;
        let obstacle = probed.trouble.map(|trouble| Obstacle {
            problem: format!("{}: {}", trouble.stage, trouble.item),
            remedy: trouble.remedy,
        });
        let levels = [IsolationLevel::Strict, IsolationLevel::Workstation];
        let receipt = match &probed.receipt {
            Some(found) => receipt::outside(found, IsolationLevel::Strict, &image.0, "on_demand"),
            // Where no container can be made there is no layer to tell of.
            None => Receipt {
                backend: name.0.clone(),
                level: IsolationLevel::Strict.word().to_owned(),
                image: image.0.clone(),
                cell: "on_demand".to_owned(),
                layers: Vec::new(),
            },
        };
        Ok(HostReport {
            receipt,
            levels: levels.map(|level| (level, obstacle.clone())).to_vec(),
        })
    }

    async fn open(&self, request: &CellRequest) -> Result<Box<dyn Environment>, BackendError> {
        let shared = &self.shared;
        let found = shared.find(&request.image)?;
        let job = Uuid::from_bytes(*request.job.as_bytes());
        let (cell, ends, layers) = shared
            .open(&request.backend, &found.meta, &request.limits, job)
            .await?;
        if shared.config.compile == Compile::Ahead && !shared.runners().contains_key(&found.meta.digest) {
            compile_beside(shared, request, &found.meta);
        }
        let receipt = receipt::describe(&layers, request.isolation, &request.image.0);
        let interpreter = shared.interpreter(&found.meta);
        Ok(Box::new(CellEnvironment::new(
            cell,
            ends,
            receipt,
            request.limits,
            interpreter,
        )))
    }
}

/// Compiles the runner for later jobs of an image, while this one runs.
fn compile_beside(shared: &Arc<Shared>, request: &CellRequest, meta: &ImageMeta) {
    let (shared, meta) = (Arc::clone(shared), meta.clone());
    let (backend, limits) = (request.backend.clone(), request.limits);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        if let Err(error) = shared.compile(&backend, &meta, &limits).await {
            debug!(%error, image = meta.name, "the runner was not compiled ahead");
        }
    });
}
