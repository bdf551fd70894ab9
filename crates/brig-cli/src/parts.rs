//! The parts of a daemon: its store and its backend. The same for `serve` and for an engine in this process.

use crate::keeper_config::images_dirs;
use anyhow::Context;
use brig_backend::docker::{Broker, DockerBackend, DockerConfig as EngineConfig};
use brig_backend::images::ImageCatalog;
use brig_backend::{Backends, Compile, JailBackend, JailConfig};
use brig_core::Backend;
use brig_core::spec::{BackendName, ImageName};
use brig_core::store::StoreError;
use brig_daemon::{Config, DockerConfig, HostCheck, Listeners, Parts};
use brig_jail::client::KeeperLink;
use brig_jail::remedy::HostSigns;
use brig_store::SqliteStore;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// What an engine of this process runs its jobs with.
#[derive(Debug)]
pub(crate) enum Means {
    /// Cells of a keeper.
    Jail(KeeperLink),
    /// Containers of an engine, through this socket of a broker.
    Docker(OwnedFd),
}

/// Parts on a temporary store, and the directory of that store.
pub(crate) async fn embedded(config: &Config, means: Means) -> anyhow::Result<(Parts, PathBuf)> {
    let store = SqliteStore::open_temporary()
        .await
        .context("cannot make a temporary store")?;
    let directory = store.directory().to_owned();
    let open = match means {
        Means::Jail(link) => Open::jail(jail(config, link, HostSigns::gather(), Compile::Never)?),
        Means::Docker(broker) => {
            let docker = config.docker.clone().unwrap_or_default();
            Open::docker(engine(config, &docker, broker, Compile::Never)?)
        }
    };
    let parts = assemble(
        store,
        open,
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
    /// The engine broker's socket, where there is an engine.
    pub(crate) broker: Option<OwnedFd>,
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
        broker,
        listeners,
        signs,
    } = brought;
    let store = SqliteStore::open(&config.data).await?;
    let jail = jail(config, link, signs, Compile::Ahead)?;
    // Every later job starts a little earlier. Without it they run all the same.
    if let Err(error) = jail.warm_up(config.isolation, &config.limits.default).await {
        tracing::debug!(%error, "the runner was not compiled ahead");
    }
    let mut open = Open::jail(jail);
    if let (Some(docker), Some(broker)) = (&config.docker, broker) {
        let engine = engine(config, docker, broker, Compile::Ahead)?;
        open.backend = Arc::new(Backends::new(open.backend, vec![Arc::new(engine)]));
    }
    Ok(assemble(store, open, listeners, HostCheck::Require, on_ready))
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

/// An open backend.
struct Open {
    backend: Arc<dyn Backend>,
    /// Ends when nothing can be run any more.
    lost: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Open {
    fn jail(jail: JailBackend) -> Self {
        let keeper = jail.keeper().clone();
        Self {
            backend: Arc::new(jail),
            lost: Box::pin(async move { keeper.lost().await }),
        }
    }

    /// A broker that dies comes again, and an engine too.
    fn docker(docker: DockerBackend) -> Self {
        Self {
            backend: Arc::new(docker),
            lost: Box::pin(std::future::pending()),
        }
    }
}

fn jail(
    config: &Config,
    link: KeeperLink,
    signs: HostSigns,
    compile: Compile,
) -> anyhow::Result<JailBackend> {
    let python = config
        .host_image
        .python
        .to_str()
        .context("the path of images.host.python is not text")?
        .to_owned();
    let jail = JailConfig {
        python,
        images: ImageCatalog::new(images_dirs(config)),
        compile,
        signs,
    };
    JailBackend::start(link, jail, &TaskTracker::new()).context("cannot talk to the keeper")
}

fn engine(
    config: &Config,
    docker: &DockerConfig,
    broker: OwnedFd,
    compile: Compile,
) -> anyhow::Result<DockerBackend> {
    let tasks = TaskTracker::new();
    let broker = Broker::start(broker, &tasks).context("cannot talk to the engine broker")?;
    let image = ImageName(docker.image.clone());
    let names = docker.runtimes.keys();
    let engine = EngineConfig {
        backends: names
            .map(|name| (BackendName(name.clone()), image.clone()))
            .collect(),
        catalog: ImageCatalog::new(images_dirs(config)),
        compile,
    };
    Ok(DockerBackend::new(broker, engine, &tasks))
}

fn assemble(
    store: SqliteStore,
    open: Open,
    listeners: Listeners,
    host_check: HostCheck,
    on_ready: Box<dyn FnOnce() + Send>,
) -> Parts {
    Parts {
        store: Arc::new(store),
        backend: open.backend,
        lost: open.lost,
        listeners,
        host_check,
        on_ready,
    }
}
