//! Which cells run the jobs of a mode: the jail on the host's own files or on an image, or containers of an engine.

use crate::engine::Engine;
use crate::skip::Skip;
use crate::stage;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::PathBuf;

/// A backend, and the image on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cells {
    /// The jail, on the host's own Python.
    Jail,
    /// The jail, on the image `python-data`.
    JailOnImage,
    /// Containers of the engine's ordinary runtime, runc.
    Docker,
    /// Containers of gVisor: a kernel of their own in user space.
    Gvisor,
}

impl Cells {
    /// As in the names of tests and in the list of exceptions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cells::Jail => "jail",
            Cells::JailOnImage => "python-data",
            Cells::Docker => "docker",
            Cells::Gvisor => "docker, runsc",
        }
    }

    /// Whether an engine runs them.
    #[must_use]
    pub fn are_containers(self) -> bool {
        matches!(self, Cells::Docker | Cells::Gvisor)
    }

    /// What the limit of memory is raised by for the runtime itself, as the receipt says; MiB.
    #[must_use]
    pub fn memory_of_the_runtime(self) -> f64 {
        match self {
            Cells::Jail | Cells::JailOnImage => 0.0,
            Cells::Docker => 4.0,
            Cells::Gvisor => 128.0,
        }
    }

    /// The image.
    #[must_use]
    pub fn image(self) -> &'static str {
        match self {
            Cells::Jail => "host",
            Cells::JailOnImage => "python-data",
            Cells::Docker | Cells::Gvisor => "python",
        }
    }

    /// What `brig run` must be told to run a job in them.
    #[must_use]
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Cells::Jail => &[],
            Cells::JailOnImage => &["--image", "python-data"],
            Cells::Docker => &["--backend", "docker"],
            Cells::Gvisor => &["--backend", "gvisor"],
        }
    }

    /// The configuration of a daemon that has them, with `own` in it.
    ///
    /// # Errors
    /// A skip where there is no engine.
    pub fn config(self, own: &str) -> Result<String, Skip> {
        if self == Cells::Jail {
            return Ok(own.to_owned());
        }
        let images = images().display().to_string();
        let mut config = format!("images_dirs = [{images:?}]\n{own}\n");
        if self.are_containers() {
            config.push_str(&docker_config(&Engine::of_the_tests()?));
        }
        Ok(config)
    }

    /// Whether the image is there.
    #[must_use]
    pub fn image_is_built(self) -> bool {
        let name = format!("{}.json", self.image());
        self == Cells::Jail || images().join("names").join(name).exists()
    }

    /// The root file system of the image on this host and what is known of it; nothing where the host's files are it.
    ///
    /// # Errors
    /// When the store of images is not as it should be.
    pub fn image_root(self) -> Result<Option<(PathBuf, Value)>> {
        if self == Cells::Jail {
            return Ok(None);
        }
        let read = |path: PathBuf| -> Result<Value> {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            Ok(serde_json::from_str(&text)?)
        };
        let name = read(images().join("names").join(format!("{}.json", self.image())))?;
        let digest = name["digest"].as_str().context("an image without a digest")?;
        let roots = images().join("roots");
        let known = read(roots.join(format!("{digest}.json")))?;
        Ok(Some((roots.join(digest), known)))
    }

    /// Whether this machine has them.
    ///
    /// # Errors
    /// The reason why not.
    pub fn available(self) -> Result<(), Skip> {
        if self == Cells::Jail {
            return Ok(());
        }
        if self.are_containers() {
            let engine = Engine::of_the_tests()?;
            if !engine.answers() {
                return Err(Skip::because("the engine of the tests does not answer"));
            }
            if self == Cells::Gvisor && !engine.has_runtime("runsc").unwrap_or(false) {
                return Err(Skip::because(
                    "the engine has no runtime runsc (package runsc is not installed)",
                ));
            }
        }
        if !self.image_is_built() {
            return Err(Skip::because(format!(
                "the image {} is not built: tests/run does it as root",
                self.image()
            )));
        }
        Ok(())
    }
}

/// Where `tests/run` builds the images.
#[must_use]
pub fn images() -> PathBuf {
    stage::state()
        .unwrap_or_else(|| PathBuf::from("/var/cache/brig-tests"))
        .join("images")
}

/// The part of a configuration that names an engine.
#[must_use]
pub fn docker_config(engine: &Engine) -> String {
    let socket = engine.socket().display().to_string();
    format!("[docker]\nsocket = {socket:?}\n\n[docker.backends.gvisor]\nruntime = \"runsc\"\n")
}
