//! What became of a program.

use super::field::{At, InvalidFields, each, id, required};
use super::time::{duration, duration_to_wire};
use crate::pb;
use brig_core::exit::RefusedCall;
use brig_core::outcome::{
    CollectedFile, Exception, Flags, Frame, Outcome, SkippedFile, StreamSummary, Usage, Verdict,
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
    }
}
