//! Looks at an engine for `brig doctor`: can it be reached, can it give what a cell needs, and what to do where it cannot.
//! Asked by the operator's own command, with the operator's own rights; no daemon does this.

mod judge;
mod version;

use bollard::models::{SystemInfo, SystemVersion};
use bollard::{API_DEFAULT_VERSION, Docker};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An engine that does not answer for so long hangs.
const PATIENCE_SECONDS: u64 = 10;

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Fine,
    /// Works, and could be better.
    Note,
    /// Cells cannot be had, or not as safe as they have to be.
    Trouble,
}

impl Grade {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Grade::Fine => "ok",
            Grade::Note => "note",
            Grade::Trouble => "trouble",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub grade: Grade,
    /// In words.
    pub detail: String,
    /// What to do; empty where there is nothing to do.
    pub remedy: String,
}

impl Finding {
    fn fine(what: &'static str, detail: impl Into<String>) -> Finding {
        Finding {
            what,
            grade: Grade::Fine,
            detail: detail.into(),
            remedy: String::new(),
        }
    }

    fn of(what: &'static str, grade: Grade, detail: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            what,
            grade,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineReport {
    /// At which socket.
    pub socket: PathBuf,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

impl EngineReport {
    /// Whether jobs can run in it.
    #[must_use]
    pub fn works(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.grade != Grade::Trouble)
    }

    /// Whether nobody is there at all: no trouble for whoever wants no engine.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        !self.socket.exists()
    }
}

/// What Brig wants of the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Every backend with its runtime.
    pub runtimes: BTreeMap<String, String>,
    /// The image of jobs that name none.
    pub default_image: String,
    /// Images that are there.
    pub images: BTreeSet<String>,
}

/// What the engine says of itself, as far as it matters; nothing that it says is believed about a cell, which is inspected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct EngineFacts {
    product: String,
    version: String,
    api: String,
    /// Of each component: name, version, revision.
    components: Vec<(String, String, String)>,
    runtimes: BTreeSet<String>,
    storage: String,
    cgroup_driver: String,
    cgroup_version: String,
    security: Vec<String>,
    /// Limits that it cannot set.
    missing_limits: Vec<&'static str>,
}

/// Looks at the engine behind this socket.
pub async fn examine(socket: &Path, wishes: &Wishes) -> EngineReport {
    let findings = match ask(socket).await {
        Ok(facts) => judge::findings(&facts, wishes),
        Err(finding) => vec![finding],
    };
    EngineReport {
        socket: socket.to_owned(),
        findings,
    }
}

async fn ask(socket: &Path) -> Result<EngineFacts, Finding> {
    // First by hand: the reason is a number here, and a text later.
    UnixStream::connect(socket).map_err(|error| cannot_open(socket, &error))?;
    let silent = |error: bollard::errors::Error| {
        Finding::of(
            "engine",
            Grade::Trouble,
            format!(
                "the engine at {} gives no usable answer: {error}",
                socket.display()
            ),
            "look at its log (`journalctl -u docker`), and start it again (`systemctl restart docker`)",
        )
    };
    let path = socket.display().to_string();
    let engine = Docker::connect_with_unix(&path, PATIENCE_SECONDS, API_DEFAULT_VERSION).map_err(silent)?;
    let late = || {
        Finding::of(
            "engine",
            Grade::Trouble,
            format!(
                "the engine at {} does not answer within {PATIENCE_SECONDS} s",
                socket.display()
            ),
            "it hangs: look at its log (`journalctl -u docker`), and start it again (`systemctl restart docker`)",
        )
    };
    let both = async { Ok((engine.version().await?, engine.info().await?)) };
    let answered = tokio::time::timeout(Duration::from_secs(PATIENCE_SECONDS), both).await;
    let (version, info) = answered.map_err(|_late| late())?.map_err(silent)?;
    Ok(facts(version, info))
}

/// Why a socket cannot be opened, and what to do.
#[must_use]
pub fn cannot_open(socket: &Path, error: &io::Error) -> Finding {
    let at = socket.display();
    let kind = error.kind();
    let (detail, remedy) = if kind == io::ErrorKind::NotFound {
        (
            format!("there is no container engine at {at}"),
            "install one (`apt install docker.io`) and start it (`systemctl start docker`), or name its socket: `socket` below \
             [docker] in the configuration, or `brig serve --docker=SOCKET`",
        )
    } else if kind == io::ErrorKind::PermissionDenied {
        (
            format!("this user may not open {at}"),
            "put the user into the socket's group (`usermod -aG docker USER`, then log in again; a service: \
             `SupplementaryGroups=docker`). Whoever is in that group is as good as root",
        )
    } else if kind == io::ErrorKind::ConnectionRefused {
        (
            format!("nobody listens at {at}: the engine does not run"),
            "start it: `systemctl start docker`",
        )
    } else {
        (
            format!("{at} cannot be opened: {error}"),
            "name the engine's socket: `socket` below [docker] in the configuration",
        )
    };
    Finding::of("engine", Grade::Trouble, detail, remedy)
}

fn facts(version: SystemVersion, info: SystemInfo) -> EngineFacts {
    let components = version.components.unwrap_or_default();
    let limits = [
        ("memory", info.memory_limit),
        ("swap", info.swap_limit),
        ("processes", info.pids_limit),
        ("CPU", info.cpu_cfs_quota),
    ];
    let product = version.platform.map(|platform| platform.name).unwrap_or_default();
    EngineFacts {
        product: if product.is_empty() {
            "engine".to_owned()
        } else {
            product
        },
        version: version.version.unwrap_or_default(),
        api: version.api_version.unwrap_or_default(),
        components: components
            .into_iter()
            .map(|one| {
                let revision = one.details.and_then(|details| details.get("GitCommit").cloned());
                (one.name, one.version, revision.unwrap_or_default())
            })
            .collect(),
        runtimes: info.runtimes.unwrap_or_default().into_keys().collect(),
        storage: info.driver.unwrap_or_default(),
        cgroup_driver: info
            .cgroup_driver
            .map(|driver| driver.to_string())
            .unwrap_or_default(),
        cgroup_version: info
            .cgroup_version
            .map(|version| version.to_string())
            .unwrap_or_default(),
        security: info.security_options.unwrap_or_default(),
        missing_limits: limits
            .into_iter()
            .filter(|(_, can)| *can == Some(false))
            .map(|(name, _)| name)
            .collect(),
    }
}

#[cfg(test)]
mod tests;
