//! From the engine's errors to statuses. What a caller must not see is logged here, under the id that it gets.

use crate::engine::EngineError;
use crate::engine::files::FileError;
use crate::engine::verdict::with_correlation_id;
use brig_api::InvalidFields;
use brig_api::status::ServiceError;
use brig_core::job::Refused;
use brig_core::store::StoreError;
use std::io::ErrorKind;
use tonic::Status;

/// A request that cannot be converted.
pub(super) fn invalid(fields: InvalidFields) -> Status {
    ServiceError::Invalid(fields).into()
}

/// An engine that did not do it.
pub(super) fn refused(error: EngineError) -> Status {
    let correlate = || with_correlation_id(&error);
    let answer = match &error {
        // The engine names fields as the spec does, and a request holds the spec.
        EngineError::Invalid(violations) => {
            ServiceError::Invalid(InvalidFields(violations.clone()).within("spec"))
        }
        EngineError::Draining => ServiceError::Draining,
        EngineError::Store(error) => ServiceError::of_store(error, "job", correlate),
        EngineError::Backend(error) => ServiceError::of_backend(error, correlate),
        EngineError::File(error) => of_file(error, correlate),
        EngineError::Lost(_) => ServiceError::Internal {
            correlation_id: correlate(),
        },
    };
    answer.into()
}

fn of_file(error: &FileError, correlate: impl FnOnce() -> String) -> ServiceError {
    match error {
        FileError::NotFound => ServiceError::NotFound { what: "file" },
        FileError::TooLarge { limit } => ServiceError::FileTooLarge { limit: *limit },
        FileError::QuotaExceeded { limit } => ServiceError::StorageFull { limit: *limit },
        FileError::DigestMismatch => ServiceError::DigestMismatch,
        // The only refusal that the index of files knows.
        FileError::Store(StoreError::Refused(Refused::AlreadyClaimed)) => ServiceError::FileInUse,
        FileError::Store(error) => ServiceError::of_store(error, "file", correlate),
        FileError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => ServiceError::DiskFull,
        FileError::Io { .. } => ServiceError::Internal {
            correlation_id: correlate(),
        },
    }
}
