//! Why Brig could not run a job.

use brig_core::outcome::Failure;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct FailureReport {
    kind: &'static str,
    message: String,
    stage: Option<String>,
    item: Option<String>,
    errno: Option<i32>,
    remedy: Option<String>,
    retryable: Option<bool>,
    correlation_id: Option<String>,
}

impl FailureReport {
    pub(super) fn of(failure: &Failure) -> Self {
        let bare = Self {
            kind: failure.kind(),
            message: describe_failure(failure),
            stage: None,
            item: None,
            errno: None,
            remedy: None,
            retryable: None,
            correlation_id: None,
        };
        match failure {
            Failure::SetupError {
                stage,
                item,
                errno,
                remedy,
            } => Self {
                stage: Some(stage.clone()),
                item: Some(item.clone()),
                errno: Some(*errno),
                remedy: Some(remedy.clone()),
                ..bare
            },
            Failure::Interrupted {
                retryable,
                reason: _in_message,
            } => Self {
                retryable: Some(*retryable),
                ..bare
            },
            Failure::InternalError { correlation_id } => Self {
                correlation_id: Some(correlation_id.clone()),
                ..bare
            },
            Failure::QueueExpired => bare,
        }
    }
}

/// Why Brig could not run a job, in one sentence.
pub(crate) fn describe_failure(failure: &Failure) -> String {
    match failure {
        Failure::SetupError {
            stage,
            item,
            errno,
            remedy: _told_apart,
        } => {
            let why = if *errno == 0 {
                String::new()
            } else {
                format!(": {}", std::io::Error::from_raw_os_error(*errno))
            };
            format!("the cell could not be set up: {stage} ({item}){why}")
        }
        Failure::Interrupted { retryable, reason } => {
            let advice = if *retryable {
                "; running it again can help"
            } else {
                ""
            };
            format!("the job was interrupted: {reason}{advice}")
        }
        Failure::InternalError { correlation_id } => {
            format!("a fault of Brig itself; its log has the details under {correlation_id}")
        }
        Failure::QueueExpired => "the job waited longer than its queue time-out".to_owned(),
    }
}
