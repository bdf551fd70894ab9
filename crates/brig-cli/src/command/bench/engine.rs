//! The container engine in the measurement: daemons of ours with and without containers kept ready, and `docker run` as
//! a careful user would give it: with the same limits and walls.

use super::daemon::PrivateDaemon;
use crate::keeper_config;
use anyhow::Context;
use brig_backend::images::ImageCatalog;
use brig_core::limits::{Limits, LimitsPolicy};
use brig_core::spec::ImageName;
use brig_daemon::{Config, DockerConfig};
use std::path::{Path, PathBuf};

/// Containers that the warm daemon keeps ready.
const WARM: usize = 2;

/// What the measurement needs to know of the engine.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    docker: DockerConfig,
    images: Vec<PathBuf>,
}

impl Engine {
    /// The one that the configuration of commands names.
    pub(crate) fn configured() -> anyhow::Result<Self> {
        let config = match std::env::var_os("BRIG_CONFIG").map(PathBuf::from) {
            Some(path) => Config::load_over(Config::default(), &path)?,
            None => Config::default(),
        };
        let images = keeper_config::images_dirs(&config);
        Ok(Self {
            docker: config.docker.unwrap_or_default(),
            images,
        })
    }

    /// Why no cell can be had of it.
    pub(crate) fn absent(&self) -> Option<String> {
        if !self.docker.socket.exists() {
            return Some(format!("no engine at {}", self.docker.socket.display()));
        }
        let image = ImageName(self.docker.image.clone());
        match ImageCatalog::new(self.images.clone()).resolve(&image) {
            Ok(_found) => None,
            Err(_not_there) => Some(format!("`brig image build {}` makes its image", image.0)),
        }
    }

    /// A daemon whose containers are kept ready, or are not.
    pub(crate) async fn daemon(&self, kept: Kept) -> anyhow::Result<PrivateDaemon> {
        let warm = match kept {
            Kept::Ready => WARM,
            Kept::None => 0,
        };
        let text = |path: &Path| path.to_str().map(|path| format!("{path:?}"));
        let images: Option<Vec<String>> = self.images.iter().map(|path| text(path)).collect();
        let (images, socket) = images
            .zip(text(&self.docker.socket))
            .context("a path is not text")?;
        PrivateDaemon::start(Some(&format!(
            "images_dirs = [{}]\n[docker]\nsocket = {socket}\nimage = {:?}\nwarm = {warm}\n",
            images.join(", "),
            self.docker.image
        )))
        .await
    }

    /// `docker run` with what a cell has.
    pub(crate) fn run(&self, image: &str) -> Vec<String> {
        let limits = LimitsPolicy::default().default;
        let mut words: Vec<String> = vec![
            "docker".into(),
            "-H".into(),
            format!("unix://{}", self.docker.socket.display()),
        ];
        words.extend(
            "run --rm --pull never --network none --read-only --user 10001:10001 --cap-drop ALL --security-opt \
             no-new-privileges --ipc private --cgroupns private --log-driver none --workdir /workspace --hostname cell"
                .split_whitespace()
                .map(str::to_owned),
        );
        words.extend(limits_of(&limits));
        words.extend([image.to_owned(), "python3".to_owned()]);
        words
    }
}

/// Whether containers wait for jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A few.
    Ready,
    /// Each is made for its job.
    None,
}

/// The default limits as `docker run` takes them.
fn limits_of(limits: &Limits) -> Vec<String> {
    let memory = limits.memory.0;
    let tmpfs = |path: &str, bytes: u64| {
        format!("--tmpfs={path}:rw,exec,nosuid,nodev,size={bytes},uid=10001,gid=10001,mode=700")
    };
    let cores = f64::from(limits.cpu_millis) / 1_000.0;
    vec![
        format!("--memory={memory}"),
        format!("--memory-swap={memory}"),
        format!("--pids-limit={}", limits.processes),
        format!("--cpus={cores}"),
        format!("--shm-size={}", limits.shm.0),
        format!("--ulimit=nofile={0}:{0}", limits.open_files),
        "--ulimit=core=0:0".to_owned(),
        tmpfs("/workspace", limits.workspace.0),
        tmpfs("/tmp", limits.tmp.0),
    ]
}
