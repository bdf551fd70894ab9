//! What the program did, and why Brig could not run one.

use super::field::{At, InvalidFields, known, required, unspecified};
use crate::pb;
use brig_core::outcome::{Failure, TimeLimit, Verdict};

/// The word of a verdict as the wire's value.
#[must_use]
pub fn verdict_kind(verdict: &Verdict) -> pb::VerdictKind {
    match verdict {
        Verdict::Exited { .. } => pb::VerdictKind::Exited,
        Verdict::Signalled { .. } => pb::VerdictKind::Signalled,
        Verdict::TimedOut { .. } => pb::VerdictKind::TimedOut,
        Verdict::OutOfMemory => pb::VerdictKind::OutOfMemory,
        Verdict::OutputLimit => pb::VerdictKind::OutputLimit,
        Verdict::DiskLimit => pb::VerdictKind::DiskLimit,
        Verdict::RefusedCall { .. } => pb::VerdictKind::RefusedCall,
        Verdict::Cancelled => pb::VerdictKind::Cancelled,
    }
}

impl From<&Verdict> for pb::Verdict {
    fn from(verdict: &Verdict) -> Self {
        let mut wire = Self {
            kind: verdict_kind(verdict).into(),
            ..Self::default()
        };
        match verdict {
            Verdict::Exited { code } => wire.code = Some(u32::from(*code)),
            Verdict::Signalled { signal } => wire.signal = Some(u32::from(*signal)),
            Verdict::TimedOut {
                limit: TimeLimit::Wall,
            } => wire.limit = pb::TimeLimit::Wall.into(),
            Verdict::TimedOut {
                limit: TimeLimit::Cpu,
            } => wire.limit = pb::TimeLimit::Cpu.into(),
            Verdict::RefusedCall { name } => wire.refused_call.clone_from(name),
            Verdict::OutOfMemory | Verdict::OutputLimit | Verdict::DiskLimit | Verdict::Cancelled => {}
        }
        wire
    }
}

impl TryFrom<pb::Verdict> for Verdict {
    type Error = InvalidFields;

    fn try_from(wire: pb::Verdict) -> Result<Self, InvalidFields> {
        let pb::Verdict {
            kind,
            code,
            signal,
            limit,
            refused_call,
        } = wire;
        Ok(match known(kind).at("kind")? {
            pb::VerdictKind::Unspecified => unspecified().at("kind")?,
            pb::VerdictKind::Exited => Self::Exited {
                code: small(code).at("code")?,
            },
            pb::VerdictKind::Signalled => Self::Signalled {
                signal: small(signal).at("signal")?,
            },
            pb::VerdictKind::TimedOut => Self::TimedOut {
                limit: time_limit(limit).at("limit")?,
            },
            pb::VerdictKind::OutOfMemory => Self::OutOfMemory,
            pb::VerdictKind::OutputLimit => Self::OutputLimit,
            pb::VerdictKind::DiskLimit => Self::DiskLimit,
            pb::VerdictKind::RefusedCall => Self::RefusedCall { name: refused_call },
            pb::VerdictKind::Cancelled => Self::Cancelled,
        })
    }
}

fn small(number: Option<u32>) -> Result<u8, InvalidFields> {
    let number = required(number)?;
    u8::try_from(number).map_err(|_above| InvalidFields::one("", format!("{number} is above 255")))
}

fn time_limit(number: i32) -> Result<TimeLimit, InvalidFields> {
    match known(number)? {
        pb::TimeLimit::Unspecified => unspecified(),
        pb::TimeLimit::Wall => Ok(TimeLimit::Wall),
        pb::TimeLimit::Cpu => Ok(TimeLimit::Cpu),
    }
}

/// The word of a failure as the wire's value.
#[must_use]
pub fn failure_kind(failure: &Failure) -> pb::FailureKind {
    match failure {
        Failure::SetupError { .. } => pb::FailureKind::SetupError,
        Failure::Interrupted { .. } => pb::FailureKind::Interrupted,
        Failure::InternalError { .. } => pb::FailureKind::InternalError,
        Failure::QueueExpired => pb::FailureKind::QueueExpired,
    }
}

impl From<&Failure> for pb::Failure {
    fn from(failure: &Failure) -> Self {
        let mut wire = Self {
            kind: failure_kind(failure).into(),
            ..Self::default()
        };
        match failure {
            Failure::SetupError {
                stage,
                item,
                errno,
                remedy,
            } => {
                wire.stage.clone_from(stage);
                wire.item.clone_from(item);
                wire.errno = *errno;
                wire.remedy.clone_from(remedy);
            }
            Failure::Interrupted { retryable, reason } => {
                wire.retryable = *retryable;
                wire.reason.clone_from(reason);
            }
            Failure::InternalError { correlation_id } => wire.correlation_id.clone_from(correlation_id),
            Failure::QueueExpired => {}
        }
        wire
    }
}

impl TryFrom<pb::Failure> for Failure {
    type Error = InvalidFields;

    fn try_from(wire: pb::Failure) -> Result<Self, InvalidFields> {
        let pb::Failure {
            kind,
            stage,
            item,
            errno,
            remedy,
            retryable,
            reason,
            correlation_id,
        } = wire;
        Ok(match known(kind).at("kind")? {
            pb::FailureKind::Unspecified => unspecified().at("kind")?,
            pb::FailureKind::SetupError => Self::SetupError {
                stage,
                item,
                errno,
                remedy,
            },
            pb::FailureKind::Interrupted => Self::Interrupted { retryable, reason },
            pb::FailureKind::InternalError => Self::InternalError { correlation_id },
            pb::FailureKind::QueueExpired => Self::QueueExpired,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_failure_survives_the_wire(failure in samples::failure()) {
            prop_assert_eq!(Failure::try_from(pb::Failure::from(&failure)), Ok(failure));
        }

        #[test]
        fn verdicts_have_the_same_word_everywhere(verdict in samples::verdict()) {
            let name = format!("VERDICT_KIND_{}", verdict.kind().to_uppercase());
            prop_assert_eq!(verdict_kind(&verdict).as_str_name(), name);
        }

        #[test]
        fn failures_have_the_same_word_everywhere(failure in samples::failure()) {
            let name = format!("FAILURE_KIND_{}", failure.kind().to_uppercase());
            prop_assert_eq!(failure_kind(&failure).as_str_name(), name);
        }
    }

    #[test]
    fn a_verdict_without_its_number_is_refused() {
        let exited = pb::Verdict {
            kind: pb::VerdictKind::Exited.into(),
            ..pb::Verdict::default()
        };
        assert_eq!(
            Verdict::try_from(exited),
            Err(InvalidFields::one("code", "is required"))
        );
        let big = pb::Verdict {
            kind: pb::VerdictKind::Exited.into(),
            code: Some(256),
            ..pb::Verdict::default()
        };
        assert_eq!(
            Verdict::try_from(big),
            Err(InvalidFields::one("code", "256 is above 255"))
        );
        let unknown = pb::Verdict {
            kind: 77,
            ..pb::Verdict::default()
        };
        assert_eq!(Verdict::try_from(unknown).unwrap_err().0[0].field, "kind");
    }
}
