//! The isolation receipt: the layers that were really active for one job.

use serde::{Deserialize, Serialize};

/// Whether a layer was active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerState {
    /// Active and whole.
    Active,
    /// Active in part; the detail says what is missing.
    Partial,
    /// Not active; the level or the operator allows that.
    Missing,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// `namespaces`, `root`, `identity`, `uid`, `landlock`, `seccomp`, `cgroup`, `rlimits`, `proc`, `scheduling`.
    pub name: String,
    /// Whether it was active.
    pub state: LayerState,
    /// In words: ABI, number of calls, digest, version, what is missing.
    pub detail: String,
}

/// What isolated one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// `jail`, `docker` or `fake`.
    pub backend: String,
    /// The level that was required.
    pub level: String,
    /// Image name and digest.
    pub image: String,
    /// How the cell was made: `prepared` (a jail built ahead, fresh interpreter) or `on_demand`.
    pub cell: String,
    /// Every layer, active or not.
    pub layers: Vec<Layer>,
}

impl Receipt {
    /// Names of the layers that were not active.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.layers
            .iter()
            .filter(|layer| layer.state == LayerState::Missing)
            .map(|layer| layer.name.as_str())
    }
}
