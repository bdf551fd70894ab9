//! What became of a program, and why Brig could not run one.

use super::field::{At, InvalidFields, each, id, known, required, unspecified};
use super::time::{duration, duration_to_wire};
use crate::pb;
use brig_core::exit::RefusedCall;
use brig_core::outcome::{
    CollectedFile, Exception, Failure, Flags, Frame, Outcome, SkippedFile, StreamSummary, TimeLimit, Usage,
    Verdict,
};
use brig_core::receipt::Receipt;

impl From<&Outcome> for pb::Outcome {
    fn from(outcome: &Outcome) -> Self {
        let Outcome {
            verdict,
            exception,
            value,
            stdout,
            stderr,
            usage,
            flags,
            refused_calls,
            files,
            skipped_files,
            hints,
            receipt,
        } = outcome;
        Self {
            verdict: Some(pb::Verdict::from(verdict)),
            exception: exception.as_ref().map(pb::ProgramException::from),
            value: value.clone(),
            stdout: Some(pb::StreamSummary::from(stdout)),
            stderr: Some(pb::StreamSummary::from(stderr)),
            usage: Some(pb::Usage::from(usage)),
            flags: Some(pb::Flags::from(flags)),
            refused_calls: refused_calls.iter().map(pb::RefusedCall::from).collect(),
            files: files.iter().map(pb::CollectedFile::from).collect(),
            skipped_files: skipped_files.iter().map(pb::SkippedFile::from).collect(),
            hints: hints.clone(),
            receipt: Some(pb::Receipt::from(receipt)),
        }
    }
}

impl TryFrom<pb::Outcome> for Outcome {
    type Error = InvalidFields;

    fn try_from(wire: pb::Outcome) -> Result<Self, InvalidFields> {
        let pb::Outcome {
            verdict,
            exception,
            value,
            stdout,
            stderr,
            usage,
            flags,
            refused_calls,
            files,
            skipped_files,
            hints,
            receipt,
        } = wire;
        Ok(Self {
            verdict: required(verdict).and_then(Verdict::try_from).at("verdict")?,
            exception: exception.map(Exception::from),
            value,
            stdout: required(stdout).at("stdout")?.into(),
            stderr: required(stderr).at("stderr")?.into(),
            usage: required(usage).and_then(Usage::try_from).at("usage")?,
            flags: required(flags).at("flags")?.into(),
            refused_calls: refused_calls.into_iter().map(RefusedCall::from).collect(),
            files: each(files).at("files")?,
            skipped_files: skipped_files.into_iter().map(SkippedFile::from).collect(),
            hints,
            receipt: required(receipt).and_then(Receipt::try_from).at("receipt")?,
        })
    }
}

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

impl From<&Exception> for pb::ProgramException {
    fn from(exception: &Exception) -> Self {
        let Exception {
            name,
            message,
            frames,
            traceback,
        } = exception;
        Self {
            name: name.clone(),
            message: message.clone(),
            frames: frames.iter().map(pb::StackFrame::from).collect(),
            traceback: traceback.clone(),
        }
    }
}

impl From<pb::ProgramException> for Exception {
    fn from(wire: pb::ProgramException) -> Self {
        let pb::ProgramException {
            name,
            message,
            frames,
            traceback,
        } = wire;
        Self {
            name,
            message,
            frames: frames.into_iter().map(Frame::from).collect(),
            traceback,
        }
    }
}

impl From<&Frame> for pb::StackFrame {
    fn from(frame: &Frame) -> Self {
        let Frame { file, line, function } = frame;
        Self {
            file: file.clone(),
            line: *line,
            function: function.clone(),
        }
    }
}

impl From<pb::StackFrame> for Frame {
    fn from(wire: pb::StackFrame) -> Self {
        let pb::StackFrame { file, line, function } = wire;
        Self { file, line, function }
    }
}

impl From<&StreamSummary> for pb::StreamSummary {
    fn from(summary: &StreamSummary) -> Self {
        let StreamSummary {
            produced_bytes,
            kept_bytes,
        } = *summary;
        Self {
            produced_bytes,
            kept_bytes,
        }
    }
}

impl From<pb::StreamSummary> for StreamSummary {
    fn from(wire: pb::StreamSummary) -> Self {
        let pb::StreamSummary {
            produced_bytes,
            kept_bytes,
        } = wire;
        Self {
            produced_bytes,
            kept_bytes,
        }
    }
}

impl From<&Usage> for pb::Usage {
    fn from(usage: &Usage) -> Self {
        let Usage {
            wall,
            cpu,
            queue,
            memory_peak_bytes,
            processes_peak,
        } = *usage;
        Self {
            wall_time: Some(duration_to_wire(wall)),
            cpu_time: Some(duration_to_wire(cpu)),
            queue_time: Some(duration_to_wire(queue)),
            memory_peak_bytes,
            processes_peak,
        }
    }
}

impl TryFrom<pb::Usage> for Usage {
    type Error = InvalidFields;

    fn try_from(wire: pb::Usage) -> Result<Self, InvalidFields> {
        let pb::Usage {
            wall_time,
            cpu_time,
            queue_time,
            memory_peak_bytes,
            processes_peak,
        } = wire;
        Ok(Self {
            wall: required(wall_time).and_then(duration).at("wall_time")?,
            cpu: required(cpu_time).and_then(duration).at("cpu_time")?,
            queue: required(queue_time).and_then(duration).at("queue_time")?,
            memory_peak_bytes,
            processes_peak,
        })
    }
}

impl From<&Flags> for pb::Flags {
    fn from(flags: &Flags) -> Self {
        let Flags {
            process_limit_hit,
            children_out_of_memory,
            leftover_processes_killed,
            refused_calls_truncated,
        } = *flags;
        Self {
            process_limit_hit,
            children_out_of_memory,
            leftover_processes_killed,
            refused_calls_truncated,
        }
    }
}

impl From<pb::Flags> for Flags {
    fn from(wire: pb::Flags) -> Self {
        let pb::Flags {
            process_limit_hit,
            children_out_of_memory,
            leftover_processes_killed,
            refused_calls_truncated,
        } = wire;
        Self {
            process_limit_hit,
            children_out_of_memory,
            leftover_processes_killed,
            refused_calls_truncated,
        }
    }
}

impl From<&RefusedCall> for pb::RefusedCall {
    fn from(call: &RefusedCall) -> Self {
        let RefusedCall { name, count } = call;
        Self {
            name: name.clone(),
            count: *count,
        }
    }
}

impl From<pb::RefusedCall> for RefusedCall {
    fn from(wire: pb::RefusedCall) -> Self {
        let pb::RefusedCall { name, count } = wire;
        Self { name, count }
    }
}

impl From<&CollectedFile> for pb::CollectedFile {
    fn from(collected: &CollectedFile) -> Self {
        let CollectedFile { path, file, size } = collected;
        Self {
            path: path.clone(),
            file_id: file.to_string(),
            size_bytes: *size,
        }
    }
}

impl TryFrom<pb::CollectedFile> for CollectedFile {
    type Error = InvalidFields;

    fn try_from(wire: pb::CollectedFile) -> Result<Self, InvalidFields> {
        let pb::CollectedFile {
            path,
            file_id,
            size_bytes,
        } = wire;
        Ok(Self {
            path,
            file: id(&file_id).at("file_id")?,
            size: size_bytes,
        })
    }
}

impl From<&SkippedFile> for pb::SkippedFile {
    fn from(skipped: &SkippedFile) -> Self {
        let SkippedFile { path, reason } = skipped;
        Self {
            path: path.clone(),
            reason: reason.clone(),
        }
    }
}

impl From<pb::SkippedFile> for SkippedFile {
    fn from(wire: pb::SkippedFile) -> Self {
        let pb::SkippedFile { path, reason } = wire;
        Self { path, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_outcome_survives_the_wire(outcome in samples::outcome()) {
            prop_assert_eq!(Outcome::try_from(pb::Outcome::from(&outcome)), Ok(outcome));
        }

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
