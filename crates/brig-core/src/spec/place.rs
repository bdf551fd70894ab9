//! Where a job runs: the names of backends and of images.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of an image. `host` is the host's own interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageName(pub String);

impl ImageName {
    /// The host's own interpreter and libraries, read-only.
    #[must_use]
    pub fn host() -> Self {
        Self("host".to_owned())
    }
}

/// The name of a backend: `jail`, or one that the operator configured, such as `docker`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendName(pub String);

impl BackendName {
    /// Brig's own jail.
    #[must_use]
    pub fn jail() -> Self {
        Self("jail".to_owned())
    }

    /// The engine that `[docker]` names.
    #[must_use]
    pub fn docker() -> Self {
        Self("docker".to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
