//! The one table between errors and gRPC statuses, in both directions.
//!
//! | who is to blame | code | details |
//! |---|---|---|
//! | caller: bad fields | `INVALID_ARGUMENT` | `BadRequest` naming each field |
//! | caller: no such thing, or another tenant's | `NOT_FOUND` | |
//! | caller: not in this state | `FAILED_PRECONDITION` | |
//! | busy | `RESOURCE_EXHAUSTED` | `QuotaFailure`, `RetryInfo` |
//! | transient | `UNAVAILABLE` | `RetryInfo` |
//! | host, bug | `INTERNAL` | an id to look for in the log; the details are only there |
//!
//! Every status carries `ErrorInfo` with domain `brig` and a [`Reason`]: programs decide by that, never by text.

mod answer;

pub use answer::{ApiError, ErrorAnswer};

use crate::convert::InvalidFields;
use brig_core::backend::BackendError;
use brig_core::fault::Fault;
use brig_core::job::Refused;
use brig_core::limits::Bytes;
use brig_core::store::StoreError;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Largest message of the contract, bytes. Servers and clients set it as their limit in both directions.
pub const MESSAGE_MAX: usize = 4 * 1024 * 1024;
/// Domain of every `ErrorInfo`.
pub const DOMAIN: &str = "brig";
/// Key of the log id in `ErrorInfo`'s metadata.
pub const CORRELATION_ID: &str = "correlation_id";

/// When a full queue may have room again: a job ends every few seconds on a busy daemon.
const QUEUE_RETRY: Duration = Duration::from_secs(1);
/// When a daemon that drains may be back.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);
/// When retention or the caller may have removed files.
const STORAGE_RETRY: Duration = Duration::from_secs(60);
/// Statuses travel in headers, and clients begin to refuse headers above 8 KiB. Text of all violations together.
const DETAILS_MAX: usize = 2 * 1024;
/// Text for a person. It travels twice, once with every byte that is not ASCII as three.
const TEXT_MAX: usize = 768;

/// Why, in words that never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Fields of the request are not valid.
    InvalidFields,
    /// No such job or file of this caller.
    NotFound,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The page token is of another list.
    InvalidPageToken,
    /// The job's state does not allow it.
    StateConflict,
    /// A queued or running job needs the file.
    FileInUse,
    /// The file is larger than any may be.
    FileTooLarge,
    /// A message is larger than any may be.
    MessageTooLarge,
    /// The content is not what was announced.
    DigestMismatch,
    /// There is no such image.
    UnknownImage,
    /// Too many jobs wait.
    QueueFull,
    /// Too much is stored.
    StorageFull,
    /// The daemon is about to stop.
    Draining,
    /// Something that the daemon needs is away.
    Unavailable,
    /// The host does not give what is required.
    SetupFailed,
    /// A fault of the daemon.
    Internal,
}

impl Reason {
    /// The word in `ErrorInfo`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::InvalidFields => "INVALID_FIELDS",
            Self::NotFound => "NOT_FOUND",
            Self::IdempotencyKeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::InvalidPageToken => "INVALID_PAGE_TOKEN",
            Self::StateConflict => "STATE_CONFLICT",
            Self::FileInUse => "FILE_IN_USE",
            Self::FileTooLarge => "FILE_TOO_LARGE",
            Self::MessageTooLarge => "MESSAGE_TOO_LARGE",
            Self::DigestMismatch => "DIGEST_MISMATCH",
            Self::UnknownImage => "UNKNOWN_IMAGE",
            Self::QueueFull => "QUEUE_FULL",
            Self::StorageFull => "STORAGE_FULL",
            Self::Draining => "DRAINING",
            Self::Unavailable => "UNAVAILABLE",
            Self::SetupFailed => "SETUP_FAILED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// Why a service does not do what it was asked to: everything that it can answer beside success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Fields of the request are not valid; paths are from the top of the request.
    #[error("the request is not valid: {0}")]
    Invalid(InvalidFields),
    /// No such job or file of this caller.
    #[error("there is no such {what}")]
    NotFound {
        /// `job` or `file`.
        what: &'static str,
    },
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used before with a different request; use a new key for a new request")]
    KeyReused,
    /// The page token is of another list.
    #[error("the page token is not one of this list; use next_page_token of the page before, or none")]
    InvalidPageToken,
    /// The state does not allow it.
    #[error("{0}")]
    Refused(Refused),
    /// A queued or running job needs the file.
    #[error("a queued or running job needs the file; cancel the job or wait for its end")]
    FileInUse,
    /// The file is larger than any may be.
    #[error("the file is larger than {limit}, the most that this daemon keeps in one file")]
    FileTooLarge {
        /// At most.
        limit: Bytes,
    },
    /// A message of the request is larger than any may be.
    #[error(
        "a message of the request is larger than {limit}, the most that one may have; send large inputs and standard input as \
         files (FileService.Upload)"
    )]
    MessageTooLarge {
        /// At most.
        limit: Bytes,
    },
    /// The content is not what was announced.
    #[error("the content does not have the SHA-256 that was announced; upload it again")]
    DigestMismatch,
    /// There is no such image.
    #[error("there is no image named {name:?}; `brig doctor` lists the images")]
    UnknownImage {
        /// The name.
        name: String,
    },
    /// Too many jobs wait.
    #[error("the queue is full: {queued} jobs are waiting, at most {limit} may; try again later")]
    QueueFull {
        /// Waiting now.
        queued: u32,
        /// At most.
        limit: u32,
    },
    /// Too much is stored.
    #[error("the stored files would have more than {limit}; remove some")]
    StorageFull {
        /// At most.
        limit: Bytes,
    },
    /// Nothing more can be stored at all.
    #[error("the disk of the daemon's data directory is full; free some space there, then try again")]
    DiskFull,
    /// The daemon is about to stop.
    #[error("the daemon is shutting down and accepts no new jobs")]
    Draining,
    /// Something that the daemon needs is away.
    #[error("{what} is gone; try again later")]
    Unavailable {
        /// What.
        what: String,
    },
    /// The host does not give what is required.
    #[error("the cell could not be set up: {problem}; {remedy}")]
    Setup {
        /// What is missing.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A fault of the daemon. Whoever makes this logs the details under the same id.
    #[error("internal error; the daemon's log has the details under {correlation_id}")]
    Internal {
        /// Look for it in the log.
        correlation_id: String,
    },
}

impl From<InvalidFields> for ServiceError {
    fn from(invalid: InvalidFields) -> Self {
        Self::Invalid(invalid)
    }
}

impl ServiceError {
    /// The answer to an error of the store about a `job` or `file`. `correlate` logs an error that the caller must
    /// not see, and gives the id under which it did.
    #[must_use]
    pub fn of_store(error: &StoreError, what: &'static str, correlate: impl FnOnce() -> String) -> Self {
        match error {
            StoreError::Refused(refused) => Self::Refused(*refused),
            StoreError::NotFound => Self::NotFound { what },
            StoreError::KeyReused => Self::KeyReused,
            StoreError::QueueFull { queued, limit } => Self::QueueFull {
                queued: *queued,
                limit: *limit,
            },
            StoreError::InvalidPageToken => Self::InvalidPageToken,
            StoreError::DiskFull => Self::DiskFull,
            StoreError::Locked { .. } | StoreError::Database { .. } | StoreError::Damaged { .. } => {
                Self::Internal {
                    correlation_id: correlate(),
                }
            }
        }
    }

    /// The answer to an error of the backend; `correlate` as in [`ServiceError::of_store`].
    #[must_use]
    pub fn of_backend(error: &BackendError, correlate: impl FnOnce() -> String) -> Self {
        match error {
            BackendError::Setup {
                stage,
                item,
                errno: _,
                remedy,
            } => Self::Setup {
                problem: format!("{stage} ({item})"),
                remedy: remedy.clone(),
            },
            BackendError::UnknownImage(name) => Self::UnknownImage { name: name.clone() },
            BackendError::Lost(what) => Self::Unavailable {
                what: (*what).to_owned(),
            },
            BackendError::Interrupted(reason) => Self::Unavailable {
                what: format!("the cell ({reason})"),
            },
            BackendError::Io { .. } | BackendError::Protocol(_) => Self::Internal {
                correlation_id: correlate(),
            },
        }
    }

    /// The stable reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) => Reason::InvalidFields,
            Self::NotFound { .. } => Reason::NotFound,
            Self::KeyReused => Reason::IdempotencyKeyReused,
            Self::InvalidPageToken => Reason::InvalidPageToken,
            Self::Refused(_) => Reason::StateConflict,
            Self::FileInUse => Reason::FileInUse,
            Self::FileTooLarge { .. } => Reason::FileTooLarge,
            Self::MessageTooLarge { .. } => Reason::MessageTooLarge,
            Self::DigestMismatch => Reason::DigestMismatch,
            Self::UnknownImage { .. } => Reason::UnknownImage,
            Self::QueueFull { .. } => Reason::QueueFull,
            Self::StorageFull { .. } | Self::DiskFull => Reason::StorageFull,
            Self::Draining => Reason::Draining,
            Self::Unavailable { .. } => Reason::Unavailable,
            Self::Setup { .. } => Reason::SetupFailed,
            Self::Internal { .. } => Reason::Internal,
        }
    }

    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self.reason() {
            Reason::InvalidFields
            | Reason::NotFound
            | Reason::IdempotencyKeyReused
            | Reason::InvalidPageToken
            | Reason::StateConflict
            | Reason::FileInUse
            | Reason::FileTooLarge
            | Reason::MessageTooLarge
            | Reason::DigestMismatch
            | Reason::UnknownImage => Fault::Caller,
            Reason::QueueFull | Reason::StorageFull => Fault::Busy,
            Reason::Draining | Reason::Unavailable => Fault::Transient,
            Reason::SetupFailed => Fault::Host,
            Reason::Internal => Fault::Bug,
        }
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self.reason() {
            Reason::InvalidFields
            | Reason::InvalidPageToken
            | Reason::FileTooLarge
            | Reason::DigestMismatch
            | Reason::UnknownImage => Code::InvalidArgument,
            Reason::NotFound => Code::NotFound,
            Reason::IdempotencyKeyReused | Reason::StateConflict | Reason::FileInUse => {
                Code::FailedPrecondition
            }
            Reason::QueueFull | Reason::StorageFull | Reason::MessageTooLarge => Code::ResourceExhausted,
            Reason::Draining | Reason::Unavailable => Code::Unavailable,
            Reason::SetupFailed | Reason::Internal => Code::Internal,
        }
    }

    /// Every field that is to blame, by its path in the request.
    fn fields(&self) -> Vec<(String, String)> {
        let one = |field: &str| vec![(field.to_owned(), self.to_string())];
        match self {
            Self::Invalid(InvalidFields(bad)) => bad
                .iter()
                .map(|v| (v.field.clone(), v.description.clone()))
                .collect(),
            Self::KeyReused => one("idempotency_key"),
            Self::InvalidPageToken => one("page_token"),
            Self::FileTooLarge { .. } => one("data"),
            Self::DigestMismatch => one("metadata.sha256"),
            Self::UnknownImage { .. } => one("spec.image"),
            Self::NotFound { .. }
            | Self::Refused(_)
            | Self::FileInUse
            | Self::MessageTooLarge { .. }
            | Self::QueueFull { .. }
            | Self::StorageFull { .. }
            | Self::DiskFull
            | Self::Draining
            | Self::Unavailable { .. }
            | Self::Setup { .. }
            | Self::Internal { .. } => Vec::new(),
        }
    }

    /// The quota that is used up, and when trying again may help.
    fn quota_and_retry(&self) -> (Option<&'static str>, Option<Duration>) {
        match self {
            Self::QueueFull { .. } => (Some("queued_jobs"), Some(QUEUE_RETRY)),
            Self::StorageFull { .. } => (Some("stored_bytes"), Some(STORAGE_RETRY)),
            Self::DiskFull => (None, Some(STORAGE_RETRY)),
            Self::Draining | Self::Unavailable { .. } => (None, Some(UNAVAILABLE_RETRY)),
            Self::Invalid(_)
            | Self::NotFound { .. }
            | Self::KeyReused
            | Self::InvalidPageToken
            | Self::Refused(_)
            | Self::FileInUse
            | Self::FileTooLarge { .. }
            | Self::MessageTooLarge { .. }
            | Self::DigestMismatch
            | Self::UnknownImage { .. }
            | Self::Setup { .. }
            | Self::Internal { .. } => (None, None),
        }
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let mut metadata = HashMap::new();
        if let ServiceError::Internal { correlation_id } = &error {
            metadata.insert(CORRELATION_ID.to_owned(), correlation_id.clone());
        }
        let mut details = ErrorDetails::new();
        details.set_error_info(error.reason().word(), DOMAIN, metadata);
        let mut left = DETAILS_MAX;
        for (field, description) in error.fields() {
            let (field, description) = (shortened(&field, 256), shortened(&description, 512));
            let Some(rest) = left.checked_sub(field.len() + description.len()) else {
                break;
            };
            left = rest;
            details.add_bad_request_violation(field, description);
        }
        let message = shortened(&error.to_string(), TEXT_MAX);
        let (quota, retry) = error.quota_and_retry();
        if let Some(quota) = quota {
            details.add_quota_failure_violation(quota, message.clone());
        }
        if retry.is_some() {
            details.set_retry_info(retry);
        }
        Status::with_error_details(error.code(), message, details)
    }
}

/// At most `room` bytes, cut between characters and marked.
fn shortened(text: &str, room: usize) -> String {
    if text.len() <= room {
        text.to_owned()
    } else {
        format!("{}…", &text[..text.floor_char_boundary(room)])
    }
}

#[cfg(test)]
mod tests;
