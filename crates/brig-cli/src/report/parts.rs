//! The parts of the object that say what a program did.

use crate::quantity::millis;
use crate::signal_name::signal_name;
use brig_core::outcome::{
    CollectedFile, Exception, Flags, SkippedFile, StreamSummary, TimeLimit, Usage, Verdict,
};
use brig_core::store::JobResult;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
pub(super) struct VerdictReport {
    kind: &'static str,
    code: Option<u8>,
    signal: Option<u8>,
    signal_name: Option<String>,
    limit: Option<&'static str>,
    call: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ExceptionReport {
    name: String,
    message: String,
    frames: Vec<FrameReport>,
    traceback: String,
}

#[derive(Debug, Serialize)]
pub(super) struct FrameReport {
    file: String,
    line: u32,
    function: String,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct OutputReport {
    pub(super) stdout: StreamReport,
    pub(super) stderr: StreamReport,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct StreamReport {
    produced_bytes: u64,
    kept_bytes: u64,
    truncated: bool,
    /// How many bytes come before what was left out, in a truncated stream.
    gap_at: Option<usize>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct UsageReport {
    wall_ms: f64,
    cpu_ms: f64,
    queue_ms: f64,
    memory_peak_bytes: Option<u64>,
    processes_peak: Option<u32>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct FlagsReport {
    process_limit_hit: bool,
    children_out_of_memory: u32,
    leftover_processes_killed: u32,
    refused_calls_truncated: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct RefusedReport {
    pub(super) name: String,
    pub(super) count: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct FileReport {
    path: String,
    size: u64,
    file_id: String,
    /// Where it was written on this machine; `null` when it was not.
    saved_as: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct SkippedReport {
    path: String,
    reason: String,
}

impl VerdictReport {
    pub(super) fn of(state: &str, result: &JobResult) -> Self {
        // A cancelled job's kind is always `cancelled`, also where its cell was lost before the kill reached it.
        let kind = if state == "cancelled" {
            "cancelled"
        } else {
            result.kind()
        };
        let bare = Self {
            kind,
            code: None,
            signal: None,
            signal_name: None,
            limit: None,
            call: None,
        };
        let verdict = match result {
            JobResult::Ran(outcome) => &outcome.verdict,
            JobResult::Failed(_) | JobResult::CancelledInQueue => return bare,
        };
        match verdict {
            Verdict::Exited { code } => Self {
                code: Some(*code),
                ..bare
            },
            Verdict::Signalled { signal } => Self {
                signal: Some(*signal),
                signal_name: Some(signal_name(*signal)),
                ..bare
            },
            Verdict::TimedOut { limit } => Self {
                limit: Some(TimeLimit::word(*limit)),
                ..bare
            },
            Verdict::OutOfMemory => Self {
                limit: Some("memory"),
                ..bare
            },
            Verdict::OutputLimit => Self {
                limit: Some("output"),
                ..bare
            },
            Verdict::DiskLimit => Self {
                limit: Some("file_size"),
                ..bare
            },
            Verdict::RefusedCall { name } => Self {
                call: Some(name.clone()),
                ..bare
            },
            Verdict::Cancelled => bare,
        }
    }
}

impl ExceptionReport {
    pub(super) fn of(exception: &Exception) -> Self {
        let Exception {
            name,
            message,
            frames,
            traceback,
        } = exception;
        let frames = frames.iter().map(|frame| FrameReport {
            file: frame.file.clone(),
            line: frame.line,
            function: frame.function.clone(),
        });
        Self {
            name: name.clone(),
            message: message.clone(),
            frames: frames.collect(),
            traceback: traceback.clone(),
        }
    }
}

impl StreamReport {
    pub(super) fn of(summary: &StreamSummary, gap_at: Option<usize>) -> Self {
        let StreamSummary {
            produced_bytes,
            kept_bytes,
        } = *summary;
        let truncated = summary.truncated();
        Self {
            produced_bytes,
            kept_bytes,
            truncated,
            gap_at: gap_at.filter(|_| truncated),
        }
    }
}

impl UsageReport {
    pub(super) fn of(usage: &Usage) -> Self {
        let Usage {
            wall,
            cpu,
            queue,
            memory_peak_bytes,
            processes_peak,
        } = *usage;
        Self {
            wall_ms: millis(wall),
            cpu_ms: millis(cpu),
            queue_ms: millis(queue),
            memory_peak_bytes,
            processes_peak,
        }
    }
}

impl FlagsReport {
    pub(super) fn of(flags: &Flags) -> Self {
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

impl FileReport {
    pub(super) fn of(file: &CollectedFile, saved: &BTreeMap<String, String>) -> Self {
        let CollectedFile { path, file, size } = file;
        Self {
            path: path.clone(),
            size: *size,
            file_id: file.to_string(),
            saved_as: saved.get(path).cloned(),
        }
    }
}

impl SkippedReport {
    pub(super) fn of(file: &SkippedFile) -> Self {
        let SkippedFile { path, reason } = file;
        Self {
            path: path.clone(),
            reason: reason.clone(),
        }
    }
}
