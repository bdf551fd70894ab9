//! The jail backend: cells come from the keeper, everything else is between the cell and this process.
//!
//! The story of a job: `open` (a prepared cell, usually) → `upload` → `exec` (Start to the keeper; ExecSpec, runner
//! and program in one write to the cell; output, channel and end awaited together) → `download` → `destroy`.

mod cell;
mod facts;
mod images;

use crate::cell::{CellEnvironment, Compile, Interpreter, RunnerFrames, compile};
use crate::images::ImageCatalog;
use crate::keeper_link::{Keeper, KeeperRefusal, LOST, OpenedCell};
use crate::receipt;
use brig_core::backend::{
    Backend, BackendError, BackendOffer, CellRequest, Environment, HostReport, ImageOffer, Obstacle,
};
use brig_core::limits::Limits;
use brig_core::spec::{BackendName, ImageName, IsolationLevel, NetworkPolicy};
use brig_jail::client::KeeperLink;
use brig_jail::protocol::{CellLimits, Level, Network};
use brig_jail::remedy::{self, HostSigns};
use brig_jail::stage::SetupFailure;
use cell::JailCell;
pub(crate) use facts::{cause, reason};
use images::JailImage;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::debug;

/// Longer than any cell takes to be built; only a keeper that is stuck needs it.
const OPEN_TIME: Duration = Duration::from_secs(30);

/// What the daemon knows about the host and about images.
#[derive(Debug, Clone)]
pub struct JailConfig {
    /// The host image's interpreter, as a path inside the cell.
    pub python: String,
    /// Images beside the host's.
    pub images: ImageCatalog,
    /// See [`Compile`].
    pub compile: Compile,
    /// Signs of known obstacles, gathered before the daemon confined itself.
    pub signs: HostSigns,
}

/// Runs jobs in jail cells.
#[derive(Debug)]
pub struct JailBackend {
    shared: Arc<Shared>,
}

/// What all environments share.
#[derive(Debug)]
struct Shared {
    keeper: Keeper,
    config: JailConfig,
    runners: RunnerFrames,
    tasks: TaskTracker,
}

impl JailBackend {
    /// Takes over the link to the keeper. Must be called in a runtime; the tasks end with the keeper.
    ///
    /// # Errors
    /// The link cannot be registered with the runtime.
    pub fn start(
        link: KeeperLink,
        config: JailConfig,
        tasks: &TaskTracker,
    ) -> Result<JailBackend, BackendError> {
        let keeper = Keeper::start(link, tasks)?;
        Ok(JailBackend {
            shared: Arc::new(Shared {
                keeper,
                runners: RunnerFrames::new(config.compile),
                config,
                tasks: tasks.clone(),
            }),
        })
    }

    /// The keeper behind this backend: to hear of its loss, to drain it.
    #[must_use]
    pub fn keeper(&self) -> &Keeper {
        &self.shared.keeper
    }

    /// Has the runner compiled for the host's interpreter by a cell that is given nothing of any user, and keeps the result:
    /// every later job starts 1 to 2 ms earlier. Worth it for a service, not for a single run.
    ///
    /// # Errors
    /// The cell could not be had or gave no answer. Jobs run all the same.
    pub async fn warm_up(&self, level: IsolationLevel, limits: &Limits) -> Result<(), BackendError> {
        let host = JailImage::host(&self.shared.config);
        compile_for(&self.shared, &host, level, limits).await
    }
}

/// Has an interpreter of the image compile the runner.
async fn compile_for(
    shared: &Arc<Shared>,
    image: &JailImage,
    level: IsolationLevel,
    limits: &Limits,
) -> Result<(), BackendError> {
    let cell = shared.open(image, level, NetworkPolicy::None, limits).await?;
    let (cell, ends, _receipt) = JailCell::new(Arc::clone(shared), cell)?;
    let compiled = compile::compile(cell, ends, &image.python).await?;
    shared.runners.keep(&image.digest.0, &compiled);
    Ok(())
}

/// The same for later jobs of an image, while its first one runs.
fn compile_beside(shared: &Arc<Shared>, image: JailImage, request: &CellRequest) {
    let (level, limits) = (request.isolation, request.limits);
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        if let Err(error) = compile_for(&shared, &image, level, &limits).await {
            debug!(%error, image = image.label, "the runner was not compiled ahead");
        }
    });
}

impl Shared {
    async fn open(
        &self,
        image: &JailImage,
        level: IsolationLevel,
        network: NetworkPolicy,
        limits: &Limits,
    ) -> Result<OpenedCell, BackendError> {
        let network = match network {
            NetworkPolicy::None => Network::None,
        };
        let opening = self
            .keeper
            .open(image.digest, wire_level(level), network, cell_limits(limits));
        match timeout(OPEN_TIME, opening).await {
            Ok(opened) => opened.map_err(|refusal| match refusal {
                KeeperRefusal::Failed(failure) if receipt::is_of_image(&failure) => {
                    receipt::image_error(&failure, &self.config.signs, &image.label)
                }
                other @ (KeeperRefusal::Failed(_) | KeeperRefusal::Lost | KeeperRefusal::Malformed) => {
                    self.error(other)
                }
            }),
            Err(_late) => Err(BackendError::Protocol("the keeper did not answer in time")),
        }
    }

    fn interpreter(&self, image: &JailImage) -> Interpreter {
        Interpreter {
            image: image.label.clone(),
            python: image.python.clone(),
            env: image.env.clone(),
            runner: self.runners.frame(&image.digest.0),
            remedy: image.remedy,
        }
    }

    fn error(&self, refusal: KeeperRefusal) -> BackendError {
        match refusal {
            KeeperRefusal::Failed(failure) => receipt::setup_error(&failure, &self.config.signs),
            KeeperRefusal::Lost => BackendError::Lost(LOST),
            KeeperRefusal::Malformed => {
                BackendError::Protocol("the keeper's answer does not fit the request")
            }
        }
    }

    fn obstacle(&self, failure: SetupFailure) -> Obstacle {
        match remedy::for_failure(&failure, &self.config.signs) {
            Some(remedy) => {
                let problem = format!("{} ({failure})", remedy.problem);
                Obstacle {
                    problem,
                    remedy: remedy.fix.to_owned(),
                }
            }
            None => Obstacle {
                problem: failure.to_string(),
                remedy: "no known remedy".to_owned(),
            },
        }
    }
}

#[async_trait::async_trait]
impl Backend for JailBackend {
    fn name(&self) -> &'static str {
        "jail"
    }

    fn offers(&self) -> Vec<BackendOffer> {
        let built = self.shared.config.images.offers();
        vec![BackendOffer {
            name: BackendName::jail(),
            default_image: ImageName::host(),
            images: std::iter::once(ImageOffer::host()).chain(built).collect(),
            trouble: None,
        }]
    }

    async fn probe(&self) -> Result<HostReport, BackendError> {
        let shared = &self.shared;
        let probed = shared
            .keeper
            .probe()
            .await
            .map_err(|refusal| shared.error(refusal))?;
        let levels = [
            (IsolationLevel::Strict, probed.strict),
            (IsolationLevel::Workstation, probed.workstation),
        ];
        Ok(HostReport {
            receipt: receipt::describe(&probed.receipt, &ImageName::host().0),
            levels: levels
                .into_iter()
                .map(|(level, failure)| (level, failure.map(|failure| shared.obstacle(failure))))
                .collect(),
        })
    }

    async fn open(&self, request: &CellRequest) -> Result<Box<dyn Environment>, BackendError> {
        let CellRequest {
            job: _,
            backend: _,
            image,
            isolation,
            network,
            limits,
        } = request;
        let shared = &self.shared;
        let image = JailImage::find(&shared.config, image)?;
        let opened = shared.open(&image, *isolation, *network, limits).await?;
        let (cell, ends, receipt) = JailCell::new(Arc::clone(shared), opened)?;
        let receipt = receipt::describe(&receipt, &image.label);
        let interpreter = shared.interpreter(&image);
        if shared.runners.try_claim(&image.digest.0) {
            compile_beside(shared, image, request);
        }
        Ok(Box::new(CellEnvironment::new(
            cell,
            ends,
            receipt,
            *limits,
            interpreter,
        )))
    }
}

fn wire_level(level: IsolationLevel) -> Level {
    match level {
        IsolationLevel::Strict => Level::Strict,
        IsolationLevel::Workstation => Level::Workstation,
    }
}

/// The limits that the keeper enforces.
#[must_use]
pub fn cell_limits(limits: &Limits) -> CellLimits {
    CellLimits {
        memory_bytes: limits.memory.0,
        processes: limits.processes,
        cpu_millis: limits.cpu_millis,
        workspace_bytes: limits.workspace.0,
        workspace_files: limits.workspace_files,
        tmp_bytes: limits.tmp.0,
        tmp_files: limits.tmp_files,
        shm_bytes: limits.shm.0,
        file_size_bytes: limits.file_size.0,
        open_files: limits.open_files,
        cpu_time_nanos: nanos(limits.cpu_time),
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
