//! What the operator decides about containers. The daemon decides nothing of this.

use crate::docker::protocol::BackendName;
use brig_jail::protocol::CellLimits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a broker needs to know. Serialisable, because `brig` hands it to the broker that it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// The engine's socket.
    pub socket: PathBuf,
    /// The configured backends: name and runtime (`runc`, `runsc`, …).
    pub backends: BTreeMap<BackendName, String>,
    /// Names this installation (a hash of the data directory); leftovers of a dead broker are found by it.
    pub instance: String,
    /// Every requested limit is clamped to these.
    pub ceilings: CellLimits,
    /// No program runs longer, whatever a request names, and no container waits longer for its program.
    pub wall_ceiling: Duration,
    /// Directories of images, the first that has one wins.
    pub images_dirs: Vec<PathBuf>,
    /// Containers that are kept ready.
    pub warm: WarmPool,
    /// Containers at once, ready ones included.
    pub max_containers: usize,
}

/// Containers that are kept ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmPool {
    /// How many for each combination of image, backend and limits that is in use; 0: none.
    pub count: usize,
    /// A container that nobody wanted for so long is removed, and its combination forgotten.
    pub idle: Duration,
    /// The memory limits of all ready containers together, bytes.
    pub memory_bytes: u64,
}

impl Default for WarmPool {
    fn default() -> WarmPool {
        WarmPool {
            count: 2,
            idle: Duration::from_secs(600),
            memory_bytes: 2 << 30,
        }
    }
}

impl BrokerConfig {
    /// The defaults, for this installation: one backend `docker` that runs `runc`.
    #[must_use]
    pub fn new(instance: impl Into<String>, images_dirs: Vec<PathBuf>) -> BrokerConfig {
        let docker = BackendName::try_from("docker".to_owned()).into_iter();
        BrokerConfig {
            socket: PathBuf::from("/run/docker.sock"),
            backends: docker.map(|name| (name, "runc".to_owned())).collect(),
            instance: instance.into(),
            ceilings: CellLimits::CEILINGS,
            wall_ceiling: Duration::from_secs(86_400),
            images_dirs,
            warm: WarmPool::default(),
            max_containers: 128,
        }
    }
}
