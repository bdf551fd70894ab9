//! `[docker]`: a container engine beside the jail.

use super::ConfigError;
use super::quantity::{Size, Span};
use brig_core::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The backend that `runtime` is for.
const MAIN: &str = "docker";

/// A container engine, and how Brig uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    /// The engine's socket.
    pub socket: PathBuf,
    /// Name of each backend with its runtime; `docker` is always among them.
    pub runtimes: BTreeMap<String, String>,
    /// The image of jobs that name none.
    pub image: String,
    /// Containers that are kept ready for each combination of image, backend and limits that is in use.
    pub warm: usize,
    /// How long one is kept that nobody wants.
    pub warm_idle: Duration,
    /// The memory limits of all ready ones together.
    pub warm_memory: Bytes,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/docker.sock"),
            runtimes: BTreeMap::from([(MAIN.to_owned(), "runc".to_owned())]),
            image: "python".to_owned(),
            warm: 2,
            warm_idle: Duration::from_secs(600),
            warm_memory: Bytes::gib(2),
        }
    }
}

impl DockerConfig {
    /// The socket that a text names: a path, or one after `unix://`, as `DOCKER_HOST` has it.
    #[must_use]
    pub fn socket_of(text: &str) -> PathBuf {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        PathBuf::from(path.strip_prefix("//").unwrap_or(path))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |field: &str, problem: &str| Err(ConfigError::field(format!("docker.{field}"), problem));
        if !self.socket.is_absolute() || self.socket.as_os_str().len() > 107 {
            return wrong(
                "socket",
                "must be the absolute path of a unix socket, of at most 107 bytes: Brig talks to an engine of this machine only",
            );
        }
        if !is_word(&self.image) || self.image == "host" {
            return wrong(
                "image",
                "must be the name of an image, as `brig image ls` shows it; the host's own interpreter is for the jail alone",
            );
        }
        if self.warm > 64 {
            return wrong("warm", "must be 0 to 64");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&self.warm_idle) {
            return wrong("warm_idle", "must be 1s to 24h");
        }
        if self.warm > 0 && self.warm_memory < Bytes::mib(16) {
            return wrong(
                "warm_memory",
                "must be at least 16MiB; without ready containers say warm = 0",
            );
        }
        for (name, runtime) in &self.runtimes {
            check_backend(name, runtime)?;
        }
        Ok(())
    }
}

fn check_backend(name: &str, runtime: &str) -> Result<(), ConfigError> {
    let field = if name == MAIN {
        "docker".to_owned()
    } else {
        format!("docker.backends.{name}")
    };
    if !is_word(name) || matches!(name, "jail" | "fake") {
        let problem = "the name of a backend has 1 to 64 letters, digits, `-`, `_` and `.`, begins with a letter or \
                       digit, and is not one that Brig has already";
        return Err(ConfigError::field(field, problem));
    }
    if !is_word(runtime) {
        let problem = "must be the name of a runtime that the engine has, such as runc or runsc";
        return Err(ConfigError::field(format!("{field}.runtime"), problem));
    }
    Ok(())
}

fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let begins = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    begins && text.len() <= 64 && text.bytes().all(plain)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DockerSection {
    socket: Option<String>,
    runtime: Option<String>,
    image: Option<String>,
    warm: Option<usize>,
    warm_idle: Option<Span>,
    warm_memory: Option<Size>,
    backends: BTreeMap<String, BackendSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendSection {
    runtime: String,
}

impl DockerSection {
    pub(super) fn resolve(self) -> Result<DockerConfig, ConfigError> {
        if self.backends.contains_key(MAIN) {
            let problem =
                "the backend docker is the one that [docker] describes: its runtime is docker.runtime";
            return Err(ConfigError::field("docker.backends.docker", problem));
        }
        let base = DockerConfig::default();
        let mut runtimes = base.runtimes;
        runtimes.extend(self.runtime.map(|runtime| (MAIN.to_owned(), runtime)));
        runtimes.extend(
            self.backends
                .into_iter()
                .map(|(name, section)| (name, section.runtime)),
        );
        Ok(DockerConfig {
            socket: self
                .socket
                .as_deref()
                .map_or(base.socket, DockerConfig::socket_of),
            runtimes,
            image: self.image.unwrap_or(base.image),
            warm: self.warm.unwrap_or(base.warm),
            warm_idle: self.warm_idle.map_or(base.warm_idle, |span| span.0),
            warm_memory: self.warm_memory.map_or(base.warm_memory, |size| size.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_socket_can_be_named_as_the_engines_own_client_names_it() {
        for text in [
            "/run/docker.sock",
            "unix:/run/docker.sock",
            "unix:///run/docker.sock",
        ] {
            assert_eq!(DockerConfig::socket_of(text), Path::new("/run/docker.sock"));
        }
    }
}
