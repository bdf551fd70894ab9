//! Why the engine did not do what it was asked to.

use super::files::FileError;
use brig_core::limits::FieldViolation;
use brig_core::store::StoreError;
use brig_core::{BackendError, Fault};

/// Refusals and faults of the engine. What the untrusted program did is never one.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The request cannot be carried out as it is.
    #[error("the request is not valid: {}", list(.0))]
    Invalid(Vec<FieldViolation>),
    /// The daemon is about to stop.
    #[error("the daemon is shutting down and accepts no new jobs")]
    Draining,
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A file was refused or failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A task of ours ended without an answer.
    #[error("{0} ended without an answer")]
    Lost(&'static str),
}

fn list(violations: &[FieldViolation]) -> String {
    let texts: Vec<String> = violations
        .iter()
        .map(|v| format!("{}: {}", v.field, v.description))
        .collect();
    texts.join("; ")
}

impl EngineError {
    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Invalid(_) => Fault::Caller,
            Self::Draining => Fault::Transient,
            Self::Store(error) => error.fault(),
            Self::Backend(error) => error.fault(),
            Self::File(error) => error.fault(),
            Self::Lost(_) => Fault::Bug,
        }
    }
}
