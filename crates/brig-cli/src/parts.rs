//! The parts of a daemon: its store and its backend. The same for `serve` and for an engine in this process.

use anyhow::Context;
use brig_backend::{JailBackend, JailConfig};
use brig_core::store::StoreError;
use brig_daemon::{Config, HostCheck, Listeners, Parts};
use brig_jail::client::KeeperLink;
use brig_jail::remedy::HostSigns;
use brig_store::SqliteStore;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Parts on a temporary store, and the directory of that store.
pub(crate) async fn embedded(config: &Config, link: KeeperLink) -> anyhow::Result<(Parts, PathBuf)> {
    let store = SqliteStore::open_temporary()
        .await
        .context("cannot make a temporary store")?;
    let directory = store.directory().to_owned();
    let backend = backend(config, link, HostSigns::gather())?;
    let parts = assemble(
        store,
        backend,
        Listeners::default(),
        HostCheck::Skip,
        Box::new(|| {}),
    );
    Ok((parts, directory))
}

/// What a daemon brings along from before it gave up its rights.
#[derive(Debug)]
pub(crate) struct Brought {
    /// The keeper's socket.
    pub(crate) link: KeeperLink,
    /// Bound sockets.
    pub(crate) listeners: Listeners,
    /// What is known of the host.
    pub(crate) signs: HostSigns,
}

/// Parts on the store in the configured directory.
pub(crate) async fn daemon(
    config: &Config,
    brought: Brought,
    on_ready: Box<dyn FnOnce() + Send>,
) -> Result<Parts, PartsError> {
    let Brought {
        link,
        listeners,
        signs,
    } = brought;
    let store = SqliteStore::open(&config.data).await?;
    let backend = backend(config, link, signs)?;
    // Every later job starts a little earlier. Without it they run all the same.
    if let Err(error) = backend.warm_up(config.isolation, &config.limits.default).await {
        tracing::debug!(%error, "the runner was not compiled ahead");
    }
    Ok(assemble(store, backend, listeners, HostCheck::Require, on_ready))
}

/// Why the parts could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartsError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backend.
    #[error(transparent)]
    Backend(#[from] anyhow::Error),
}

fn backend(config: &Config, link: KeeperLink, signs: HostSigns) -> anyhow::Result<JailBackend> {
    let python = config
        .host_image
        .python
        .to_str()
        .context("the path of images.host.python is not text")?
        .to_owned();
    JailBackend::start(link, JailConfig { python, signs }, &TaskTracker::new())
        .context("cannot talk to the keeper")
}

fn assemble(
    store: SqliteStore,
    backend: JailBackend,
    listeners: Listeners,
    host_check: HostCheck,
    on_ready: Box<dyn FnOnce() + Send>,
) -> Parts {
    let keeper = backend.keeper().clone();
    let lost = Box::pin(async move { keeper.lost().await });
    Parts {
        store: Arc::new(store),
        backend: Arc::new(backend),
        lost,
        listeners,
        host_check,
        on_ready,
    }
}
