//! What a client makes of a status.

use super::CORRELATION_ID;
use crate::convert::InvalidFields;
use brig_core::fault::Fault;
use brig_core::limits::FieldViolation;
use std::error::Error;
use std::fmt;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Why a call did not succeed, as a client sees it.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nobody answers there.
    #[error("cannot reach the daemon at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The address cannot be understood.
    #[error(
        "not an address of a daemon: {0:?} (write it like unix:/run/brig/brig.sock or tcp:127.0.0.1:7444)"
    )]
    Address(String),
    /// The daemon answered with an error.
    #[error("{0}")]
    Answer(Box<ErrorAnswer>),
    /// The connection broke; whether the request arrived is not known.
    #[error("the connection to the daemon was lost")]
    Lost(#[source] Box<Status>),
    /// The stream ended before the job did.
    #[error("the daemon ended the stream before the job had ended")]
    Broken,
    /// The deadline of the call passed.
    #[error("the daemon did not answer in time")]
    Deadline,
    /// The answer is not one of this contract.
    #[error("the daemon's answer cannot be read: {0}")]
    Reply(InvalidFields),
    /// A download brought another number of bytes than announced.
    #[error("the download has {received} bytes, but the file has {announced}")]
    Transfer {
        /// How many came.
        received: u64,
        /// How many the file has.
        announced: u64,
    },
    /// Reading what was to be uploaded, or writing what was downloaded, failed.
    #[error("failed to {act}")]
    Local {
        /// What was being done.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// An error status, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// The gRPC code.
    pub code: Code,
    /// In words, for a person.
    pub message: String,
    /// The stable reason: a word of [`super::Reason`], where the daemon gave one.
    pub reason: Option<String>,
    /// Fields to blame, by their path in the request.
    pub fields: Vec<FieldViolation>,
    /// Quotas that are used up.
    pub quotas: Vec<String>,
    /// When trying again may help.
    pub retry_after: Option<Duration>,
    /// The id under which the daemon's log has the details.
    pub correlation_id: Option<String>,
}

impl fmt::Display for ErrorAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            // Servers and proxies that were not written here may give a code alone.
            write!(f, "the daemon answered: {}", self.code)
        } else {
            f.write_str(&self.message)
        }
    }
}

impl ApiError {
    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Connect { .. } | Self::Lost(_) | Self::Broken | Self::Deadline => Fault::Transient,
            // The one exhausted resource that does not come back.
            Self::Answer(answer)
                if answer.reason.as_deref() == Some(super::Reason::MessageTooLarge.word()) =>
            {
                Fault::Caller
            }
            Self::Answer(answer) => fault_of(answer.code),
            Self::Address(_) => Fault::Caller,
            Self::Reply(_) | Self::Transfer { .. } => Fault::Bug,
            Self::Local { .. } => Fault::Host,
        }
    }

    /// The stable reason that the daemon gave.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.answer().and_then(|answer| answer.reason.as_deref())
    }

    /// Fields that the daemon blames.
    #[must_use]
    pub fn fields(&self) -> &[FieldViolation] {
        self.answer().map_or(&[], |answer| &answer.fields)
    }

    /// When the daemon says that trying again may help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.answer().and_then(|answer| answer.retry_after)
    }

    /// The gRPC code, where the daemon answered.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.answer().map(|answer| answer.code)
    }

    fn answer(&self) -> Option<&ErrorAnswer> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Connect { .. }
            | Self::Address(_)
            | Self::Lost(_)
            | Self::Broken
            | Self::Deadline
            | Self::Reply(_)
            | Self::Transfer { .. }
            | Self::Local { .. } => None,
        }
    }
}

fn fault_of(code: Code) -> Fault {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Cancelled => Fault::Caller,
        Code::ResourceExhausted => Fault::Busy,
        Code::Unavailable | Code::Aborted | Code::DeadlineExceeded => Fault::Transient,
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Ok => Fault::Bug,
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        // Only a status that was made on this side has a source: the transport broke. One that a server sent has
        // none, whatever its code.
        if status.source().is_some() {
            return Self::Lost(Box::new(status));
        }
        let details = status.get_error_details();
        let info = details.error_info();
        let fields = details
            .bad_request()
            .map(|bad| bad.field_violations.as_slice())
            .unwrap_or_default();
        let quotas = details
            .quota_failure()
            .map(|quota| quota.violations.as_slice())
            .unwrap_or_default();
        Self::Answer(Box::new(ErrorAnswer {
            code: status.code(),
            message: status.message().to_owned(),
            reason: info.map(|info| info.reason.clone()),
            fields: fields
                .iter()
                .map(|v| FieldViolation::new(&v.field, &v.description))
                .collect(),
            quotas: quotas.iter().map(|violation| violation.subject.clone()).collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            correlation_id: info.and_then(|info| info.metadata.get(CORRELATION_ID).cloned()),
        }))
    }
}

impl From<InvalidFields> for ApiError {
    fn from(invalid: InvalidFields) -> Self {
        Self::Reply(invalid)
    }
}
