//! A real keeper for tests: the example program of this crate, in a process of its own.

use brig_backend::images::ImageCatalog;
use brig_backend::{Compile, JailBackend, JailConfig};
use brig_core::backend::Backend;
use brig_core::spec::IsolationLevel;
use brig_jail::keeper::KeeperConfig;
use brig_jail::remedy::HostSigns;
use std::path::PathBuf;
use std::process::{Child, Command};
use tokio_util::task::TaskTracker;

pub struct Jail {
    pub backend: JailBackend,
    pub level: IsolationLevel,
    pub child: Child,
}

/// Built beside the tests by a build of the workspace; after a build of this crate alone init is made here.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let here = std::env::current_exe().ok()?;
    let profile = here.parent()?.parent()?;
    let (keeper, init) = (
        profile.join("examples/backend_keeper"),
        profile.join("brig-jail-init"),
    );
    for (program, build) in [
        (&init, ["-p", "brig-jail", "--bin", "brig-jail-init"]),
        (&keeper, ["-p", "brig-backend", "--example", "backend_keeper"]),
    ] {
        if program.exists() {
            continue;
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet"])
            .args(build)
            .status();
        if !built.is_ok_and(|status| status.success()) {
            return None;
        }
    }
    (keeper.exists() && init.exists()).then_some((keeper, init))
}

impl Jail {
    /// `None`, with the reason on stderr, where this machine gives no cell at all.
    pub async fn start(name: &str) -> Option<Jail> {
        Jail::start_with_python(name, "/usr/bin/python3").await
    }

    /// The same with another program in the interpreter's place.
    pub async fn start_with_python(name: &str, python: &str) -> Option<Jail> {
        let Some((keeper, init)) = programs() else {
            eprintln!("SKIPPED {name}: the keeper of brig-jail's tests cannot be built here");
            return None;
        };
        let mut config = KeeperConfig::new(Vec::new(), format!("backend-{name}"));
        config.spares = 1;
        let config = serde_json::to_string(&config).unwrap();
        let args = [config.as_str(), init.to_str().unwrap()];
        let (link, child) = brig_jail::embedded::spawn_keeper(&keeper, args).unwrap();
        let config = JailConfig {
            python: python.to_owned(),
            images: ImageCatalog::default(),
            compile: Compile::Never,
            signs: HostSigns::gather(),
        };
        let backend = JailBackend::start(link, config, &TaskTracker::new()).unwrap();
        let report = backend.probe().await.unwrap();
        let works = report.levels.iter().find(|(_, obstacle)| obstacle.is_none());
        let Some((level, _)) = works else {
            eprintln!(
                "SKIPPED {name}: no level works on this machine: {:?}",
                report.levels
            );
            return None;
        };
        let level = *level;
        Some(Jail {
            backend,
            level,
            child,
        })
    }

    /// The keeper ends when the daemon's side is closed.
    pub async fn stop(mut self) {
        drop(self.backend);
        let child = tokio::task::spawn_blocking(move || self.child.wait());
        child.await.unwrap().unwrap();
    }
}
