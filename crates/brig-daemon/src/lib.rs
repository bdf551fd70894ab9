//! The library behind `brig serve`, and behind `brig run` without a daemon: wire, engine and housekeeping.
//!
//! ```text
//!  grpc/ ── decode, call, encode ──▶ engine/ ──▶ ports: Store, Backend
//!                                      ▲
//!  maintenance/ ── time-outs, retention┘         wiring.rs starts and stops everything
//! ```
//!
//! The caller brings the parts: it opens the store and the backend, and binds the listeners before it gives up its
//! rights. This crate reads no configuration by itself and starts no process.
#![forbid(unsafe_code)]

mod clock;
pub mod config;
mod engine;
mod exit_code;
mod grpc;
mod maintenance;
mod metrics;
pub mod telemetry;
mod wiring;

pub use config::{Config, ConfigError, DockerConfig};
pub use engine::EngineError;
pub use exit_code::ExitCode;
pub use grpc::connection::Listeners;
pub use maintenance::cleaner::Retention;

use brig_core::Backend;
use brig_core::store::{Store, StoreError};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

/// Whether the host's layers are tried before anything is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostCheck {
    /// A host that does not give the configured level is refused, with the remedy.
    Require,
    /// Each job finds out by itself: an embedded run saves the trial.
    Skip,
}

/// What a daemon is made of.
pub struct Parts {
    /// The open store.
    pub store: Arc<dyn Store>,
    /// The open backend.
    pub backend: Arc<dyn Backend>,
    /// Ends when the keeper is gone.
    pub lost: BoxFuture<'static, ()>,
    /// Bound sockets.
    pub listeners: Listeners,
    /// Whether to try the host first.
    pub host_check: HostCheck,
    /// Called once when requests are served.
    pub on_ready: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// Why a daemon does not serve any more, or never did.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory of files.
    #[error("failed to make the directory of files")]
    Files(#[source] std::io::Error),
    /// An address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The host.
    #[error("isolation level {level} does not work on this host: {problem}\n{remedy}")]
    HostLacks {
        /// The level that is configured.
        level: &'static str,
        /// What is missing.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The host's layers could not even be tried.
    #[error("the host's layers cannot be tried")]
    Probe(#[source] Box<EngineError>),
    /// The keeper.
    #[error("the keeper is gone; running jobs were recorded as interrupted")]
    KeeperLost,
    /// A fault of ours.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How a daemon is told to stop.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Shutdown {
    /// Nobody has told anything yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Told by SIGTERM and SIGINT: the first one drains, the second one stops at once.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let told = shutdown.clone();
        TaskTracker::new().spawn(async move {
            for token in [told.drain, told.stop] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(shutdown)
    }

    /// Accept nothing new, let running jobs end.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Give up running jobs.
    pub fn stop_now(&self) {
        self.drain.cancel();
        self.stop.cancel();
    }
}

/// Serves until told to stop.
///
/// # Errors
/// [`ServeError`], whose [`ExitCode`] tells a supervisor whether starting again helps.
pub async fn serve(config: Config, parts: Parts, shutdown: Shutdown) -> Result<ExitCode, ServeError> {
    config.check()?;
    wiring::serve(config, parts, shutdown).await
}

/// A daemon inside this process.
#[derive(Debug)]
pub struct Embedded {
    task: JoinHandle<Result<ExitCode, ServeError>>,
    shutdown: Shutdown,
}

/// Starts a daemon inside this process, for one client that speaks to it in memory. `parts.listeners` is replaced.
#[must_use]
pub fn embedded(config: Config, parts: Parts) -> (Embedded, DuplexStream) {
    let (listeners, client) = Listeners::memory();
    let parts = Parts { listeners, ..parts };
    let shutdown = Shutdown::new();
    let task = TaskTracker::new().spawn(serve(config, parts, shutdown.clone()));
    (Embedded { task, shutdown }, client)
}

impl Embedded {
    /// How to tell it to stop.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Lets running jobs end, and waits until everything is gone.
    ///
    /// # Errors
    /// What [`serve`] gave.
    pub async fn stop(self) -> Result<ExitCode, ServeError> {
        self.shutdown.drain();
        self.task.await.unwrap_or_else(|failed| {
            warn!(%failed, "the embedded daemon failed");
            Err(ServeError::Internal(Box::new(failed)))
        })
    }
}
