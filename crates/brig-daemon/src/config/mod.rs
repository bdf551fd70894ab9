//! The operator's configuration: TOML, every field optional, every mistake named.

mod docker;
mod limits;
mod quantity;

pub use docker::DockerConfig;

use crate::maintenance::cleaner::Retention;
use brig_core::Bytes;
use brig_core::limits::LimitsPolicy;
use brig_core::spec::IsolationLevel;
use docker::DockerSection;
use limits::LimitsSection;
use quantity::{Size, Span};
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Layers that an operator may name optional. Never the namespaces, the read-only root, the identity or seccomp.
pub const OPTIONAL_LAYERS: [&str; 3] = ["cgroup", "uid", "landlock"];

/// The shortest lease: a second of it is for the cell's death.
pub(crate) const SHORTEST_LEASE: Duration = Duration::from_secs(3);

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, or a field that does not exist or has the wrong type.
    #[error("the configuration {path} is not valid: {detail}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and what.
        detail: String,
    },
    /// A value that makes no sense.
    #[error("{field}: {problem}")]
    Field {
        /// Which field, as in the file.
        field: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl ConfigError {
    pub(crate) fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A unix socket: who may connect is decided by its directory and mode.
    Unix(PathBuf),
    /// TCP, on loopback only as long as there are no keys.
    Tcp(SocketAddr),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = |problem: String| ConfigError::field("listen", problem);
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            if path.as_os_str().is_empty() || path.as_os_str().len() > 107 {
                return Err(wrong(format!(
                    "{text:?}: the path of a unix socket has 1 to 107 bytes"
                )));
            }
            return Ok(Self::Unix(path));
        }
        let Some(address) = text.strip_prefix("tcp:") else {
            return Err(wrong(format!("{text:?} is neither unix:PATH nor tcp:HOST:PORT")));
        };
        let address = address.strip_prefix("//").unwrap_or(address);
        let address = address.replacen("localhost:", "127.0.0.1:", 1);
        let address: SocketAddr = address.parse().map_err(|_not_one| {
            wrong(format!(
                "{text:?}: HOST is an address such as 127.0.0.1, PORT a number"
            ))
        })?;
        if !address.ip().is_loopback() {
            return Err(wrong(format!(
                "{text:?} can be reached from other machines, and whoever reaches it can run code here: without keys \
                 only loopback addresses are allowed"
            )));
        }
        Ok(Self::Tcp(address))
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One object per line.
    Json,
}

/// The image `host`: the host's own interpreter, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostImage {
    /// Its interpreter.
    pub python: PathBuf,
    /// Further paths that jobs can read, such as a virtual environment.
    pub read_only: Vec<PathBuf>,
}

/// The host's user and group ids that cells get when Brig runs as root. Nobody else may have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootIds {
    /// The first id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Everything that an operator can decide, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; at least one.
    pub listen: Vec<ListenAddress>,
    /// Mode bits of unix sockets: 0600 or 0660.
    pub socket_mode: u32,
    /// Where everything is kept.
    pub data: PathBuf,
    /// Cells at once.
    pub max_concurrent: usize,
    /// Most queued jobs of a tenant.
    pub max_queued: u32,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// Level of jobs that name none.
    pub isolation: IsolationLevel,
    /// Layers that may be missing.
    pub optional_layers: Vec<String>,
    /// Defaults and ceilings.
    pub limits: LimitsPolicy,
    /// How long running jobs may go on after the first signal to stop.
    pub drain: Duration,
    /// How long a worker may be silent before its jobs are taken away.
    pub lease: Duration,
    /// How long things are kept.
    pub retention: Retention,
    /// Most bytes of files a tenant may store.
    pub stored: Bytes,
    /// The image `host`.
    pub host_image: HostImage,
    /// Ids of cells when Brig runs as root.
    pub root_ids: RootIds,
    /// Cells that are kept ready.
    pub spares: usize,
    /// Where images are, the first that has one wins; empty: where `brig image` puts them.
    pub images_dirs: Vec<PathBuf>,
    /// The container engine; `None`: jobs run in the jail alone.
    pub docker: Option<DockerConfig>,
    /// How log lines look.
    pub log: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            socket_mode: 0o600,
            data: PathBuf::from("/var/lib/brig"),
            max_concurrent: 4,
            max_queued: 10_000,
            metrics: None,
            isolation: IsolationLevel::Strict,
            optional_layers: Vec::new(),
            limits: LimitsPolicy::default(),
            drain: Duration::from_secs(30),
            lease: Duration::from_secs(30),
            retention: Retention::default(),
            stored: Bytes::gib(10),
            host_image: HostImage {
                python: PathBuf::from("/usr/bin/python3"),
                read_only: Vec::new(),
            },
            root_ids: RootIds {
                first: 0x3000_0000,
                count: 65_536,
            },
            spares: 2,
            images_dirs: Vec::new(),
            docker: None,
            log: LogFormat::Human,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    listen: Option<Vec<String>>,
    socket_mode: Option<String>,
    data: Option<PathBuf>,
    max_concurrent: Option<usize>,
    max_queued: Option<u32>,
    metrics: Option<String>,
    isolation: Option<IsolationLevel>,
    optional_layers: Option<Vec<String>>,
    drain: Option<Span>,
    lease: Option<Span>,
    spares: Option<usize>,
    log: Option<LogFormat>,
    limits: LimitsSections,
    retention: RetentionSection,
    images: ImagesSection,
    images_dirs: Option<Vec<PathBuf>>,
    docker: Option<DockerSection>,
    root_ids: RootIdsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RootIdsSection {
    first: Option<u32>,
    count: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsSections {
    default: LimitsSection,
    ceiling: LimitsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionSection {
    jobs_for: Option<Span>,
    jobs: Option<u64>,
    keys_for: Option<Span>,
    stored: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ImagesSection {
    host: HostSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HostSection {
    python: Option<PathBuf>,
    read_only: Option<Vec<PathBuf>>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, or the first field that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_over(Self::default(), path)
    }

    /// Reads and checks a file that changes `base`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_over(base: Self, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse_over(base, &text, path)
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_over(Self::default(), text, path)
    }

    fn parse_over(base: Self, text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_path_buf(),
            detail: error.to_string().trim_end().to_owned(),
        })?;
        let config = file.resolve(base)?;
        config.check()?;
        Ok(config)
    }

    /// Checks what may also have come from the command line.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.max_concurrent == 0 || self.max_concurrent > 1024 {
            return Err(ConfigError::field("max_concurrent", "must be 1 to 1024"));
        }
        if self.max_queued == 0 {
            return Err(ConfigError::field("max_queued", "must be at least 1"));
        }
        if !matches!(self.socket_mode, 0o600 | 0o660) {
            return Err(ConfigError::field("socket_mode", "must be \"0600\" or \"0660\""));
        }
        if !(SHORTEST_LEASE..=Duration::from_secs(3600)).contains(&self.lease) {
            return Err(ConfigError::field("lease", "must be 3s to 1h"));
        }
        if self.retention.keys_for < Duration::from_secs(24 * 3600) {
            return Err(ConfigError::field("retention.keys_for", "must be at least 24h"));
        }
        if let Some(layer) = self
            .optional_layers
            .iter()
            .find(|layer| !OPTIONAL_LAYERS.contains(&layer.as_str()))
        {
            let problem = format!(
                "{layer:?} cannot be optional; only {} can",
                OPTIONAL_LAYERS.join(", ")
            );
            return Err(ConfigError::field("optional_layers", problem));
        }
        let paths = self
            .host_image
            .read_only
            .iter()
            .map(|path| ("images.host.read_only", path));
        let paths = paths.chain(self.images_dirs.iter().map(|path| ("images_dirs", path)));
        let python = ("images.host.python", &self.host_image.python);
        for (field, path) in paths.chain([python]) {
            if !path.is_absolute() {
                return Err(ConfigError::field(
                    field,
                    format!("{} is not an absolute path", path.display()),
                ));
            }
        }
        // 100,000 is where ranges of subordinate ids usually begin; below are people and services.
        let RootIds { first, count } = self.root_ids;
        if first < 100_000 || count < 1_024 || first.checked_add(count).is_none() {
            let problem = "needs first at 100000 or above and a count of at least 1024";
            return Err(ConfigError::field("root_ids", problem));
        }
        if let Some(docker) = &self.docker {
            docker.check()?;
        }
        limits::check(&self.limits)
    }

    /// Where the bytes of files are.
    #[must_use]
    pub fn files_dir(&self) -> PathBuf {
        self.data.join("files")
    }
}

impl File {
    fn resolve(self, base: Config) -> Result<Config, ConfigError> {
        let mut limits = base.limits;
        self.limits.default.apply(&mut limits.default);
        self.limits.ceiling.apply(&mut limits.ceiling);
        let listen = self.listen.unwrap_or_default();
        let metrics = self.metrics.map(|text| {
            let problem = "must be an address and a port, such as 127.0.0.1:9464";
            text.parse()
                .map_err(|_not_one| ConfigError::field("metrics", problem))
        });
        let mode = self.socket_mode.map(|text| {
            let digits = text.trim_start_matches("0o");
            u32::from_str_radix(digits, 8)
                .map_err(|_not_one| ConfigError::field("socket_mode", "must be \"0600\" or \"0660\""))
        });
        let docker = self.docker.map(DockerSection::resolve).transpose()?;
        let kept = base.retention;
        Ok(Config {
            listen: listen.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            socket_mode: mode.transpose()?.unwrap_or(base.socket_mode),
            data: self.data.unwrap_or(base.data),
            max_concurrent: self.max_concurrent.unwrap_or(base.max_concurrent),
            max_queued: self.max_queued.unwrap_or(base.max_queued),
            metrics: metrics.transpose()?,
            isolation: self.isolation.unwrap_or(base.isolation),
            optional_layers: self.optional_layers.unwrap_or_default(),
            limits,
            drain: self.drain.map_or(base.drain, |span| span.0),
            lease: self.lease.map_or(base.lease, |span| span.0),
            retention: Retention {
                jobs_for: self.retention.jobs_for.map_or(kept.jobs_for, |span| span.0),
                jobs: self.retention.jobs.unwrap_or(kept.jobs),
                keys_for: self.retention.keys_for.map_or(kept.keys_for, |span| span.0),
            },
            stored: self.retention.stored.map_or(base.stored, |size| size.0),
            host_image: HostImage {
                python: self.images.host.python.unwrap_or(base.host_image.python),
                read_only: self.images.host.read_only.unwrap_or_default(),
            },
            root_ids: RootIds {
                first: self.root_ids.first.unwrap_or(base.root_ids.first),
                count: self.root_ids.count.unwrap_or(base.root_ids.count),
            },
            spares: self.spares.unwrap_or(base.spares),
            images_dirs: self.images_dirs.unwrap_or(base.images_dirs),
            docker: docker.or(base.docker),
            log: self.log.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests;
