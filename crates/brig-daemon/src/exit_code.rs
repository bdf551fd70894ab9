//! Exit statuses of `brig serve`: a supervisor can tell from the number whether starting again helps.

use crate::ServeError;
use brig_core::store::StoreError;

/// Every status that the daemon ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Asked to stop, and every job was given its end.
    Clean = 0,
    /// Wrong options.
    Usage = 2,
    /// The configuration is not valid; starting again does not help.
    BadConfig = 64,
    /// The data directory is used by another daemon.
    DataInUse = 65,
    /// The store cannot be opened or is damaged.
    StoreUnusable = 66,
    /// An address cannot be listened on.
    CannotListen = 67,
    /// The host lacks a required layer of isolation; the message says how to get it.
    HostLacksLayer = 68,
    /// The keeper is gone; starting again helps.
    KeeperLost = 69,
    /// A fault of ours.
    Internal = 70,
    /// Stopped at once by a second signal: running jobs were given up.
    Forced = 71,
}

impl ExitCode {
    /// The number.
    #[must_use]
    pub fn number(self) -> u8 {
        // A fieldless enum with an explicit representation.
        self as u8
    }
}

impl From<&ServeError> for ExitCode {
    fn from(error: &ServeError) -> Self {
        match error {
            ServeError::Config(_) => Self::BadConfig,
            ServeError::Store(StoreError::Locked { .. }) => Self::DataInUse,
            ServeError::Store(
                StoreError::Refused(_)
                | StoreError::NotFound
                | StoreError::KeyReused
                | StoreError::QueueFull { .. }
                | StoreError::InvalidPageToken
                | StoreError::DiskFull
                | StoreError::Database { .. }
                | StoreError::Damaged { .. },
            )
            | ServeError::Files(_) => Self::StoreUnusable,
            ServeError::Listen { .. } => Self::CannotListen,
            ServeError::HostLacks { .. } => Self::HostLacksLayer,
            ServeError::Probe(_) => Self::HostLacksLayer,
            ServeError::KeeperLost => Self::KeeperLost,
            ServeError::Internal(_) => Self::Internal,
        }
    }
}
