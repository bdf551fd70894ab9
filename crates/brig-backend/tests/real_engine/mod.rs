//! A real engine behind a real broker, which runs in a thread of the test.

use crate::conformance::Subject;
use crate::scripted_engine::init;
use brig_backend::docker::broker::{self, BrokerConfig};
use brig_backend::docker::protocol::BackendName;
use brig_backend::docker::{Broker, Compile, DockerBackend, DockerConfig};
use brig_backend::fake::Step;
use brig_backend::images::ImageCatalog;
use brig_core::backend::Backend;
use brig_core::spec::{BackendName as Name, ImageName, IsolationLevel};
use brig_jail::record::RecordSocket;
use std::path::PathBuf;
use std::thread::JoinHandle;
use tokio_util::task::TaskTracker;

/// What the tests of the whole keep between runs.
const STATE: &str = "/var/cache/brig-tests";

pub struct Real {
    backend: DockerBackend,
    broker: JoinHandle<()>,
    /// As `docker -H` takes it.
    pub socket: String,
}

impl Subject for Real {
    fn backend(&self) -> &dyn Backend {
        &self.backend
    }
    fn level(&self) -> IsolationLevel {
        IsolationLevel::Strict
    }
    fn place(&self) -> (Name, ImageName) {
        (Name::docker(), ImageName("python".to_owned()))
    }
    fn script(&self, _steps: Vec<Step>) {}
}

impl Real {
    /// `None`, with the reason on stderr, where there is no engine or no image.
    pub fn start(name: &str, runtime: &str) -> Option<Real> {
        let skip = |why: &str| eprintln!("SKIPPED {name}: {why}");
        let Some(socket) = std::env::var_os("BRIG_TESTS_ENGINE").map(PathBuf::from) else {
            skip("BRIG_TESTS_ENGINE names no engine");
            return None;
        };
        let state = std::env::var_os("BRIG_TESTS_STATE").map_or_else(|| PathBuf::from(STATE), PathBuf::from);
        let images = vec![state.join("images")];
        let catalog = ImageCatalog::new(images.clone());
        if let Err(error) = catalog.resolve(&ImageName("python".to_owned())) {
            skip(&format!("no image to run: {error}"));
            return None;
        }
        let Some(init) = init() else {
            skip("the first process of a container cannot be built here");
            return None;
        };
        // A thread of a test keeps it until the end of the process.
        let init: &'static [u8] = Vec::leak(std::fs::read(init).unwrap());
        let instance = format!("backend-tests-{}-{}", std::process::id(), name.replace(' ', "-"));
        let mut config = BrokerConfig::new(instance, images);
        config.socket.clone_from(&socket);
        let backend = BackendName::try_from("docker".to_owned()).unwrap();
        config.backends.insert(backend, runtime.to_owned());
        let (ours, theirs) = RecordSocket::pair().unwrap();
        let broker = std::thread::spawn(move || broker::run(config, theirs.into_inner(), init).unwrap());
        let tasks = TaskTracker::new();
        let config = DockerConfig {
            backends: vec![(Name::docker(), ImageName("python".to_owned()))],
            catalog,
            compile: Compile::Never,
        };
        let link = Broker::start(ours.into_inner(), &tasks).unwrap();
        Some(Real {
            backend: DockerBackend::new(link, config, &tasks),
            broker,
            socket: format!("unix://{}", socket.display()),
        })
    }

    /// The broker removes what is left and ends when the daemon's side is closed.
    pub async fn stop(self) {
        drop(self.backend);
        let broker = self.broker;
        let joined = tokio::task::spawn_blocking(move || broker.join().unwrap());
        joined.await.unwrap();
    }
}
