//! The one object that `--json` prints for a job. Its fields are part of the interface: add, never change.

use crate::quantity::millis;
use crate::signal_name::signal_name;
use brig_core::id::JobId;
use brig_core::outcome::{
    CollectedFile, Exception, Failure, Flags, Outcome, SkippedFile, StreamSummary, TimeLimit, Usage, Verdict,
};
use brig_core::receipt::{LayerState, Receipt};
use brig_core::store::JobResult;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is known of a job that has ended.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    /// Which job.
    pub(crate) id: JobId,
    /// Its state's word.
    pub(crate) state: &'a str,
    /// How it ended.
    pub(crate) result: &'a JobResult,
    /// The output that was kept.
    pub(crate) output: &'a KeptOutput,
    /// Where collected files were written, by their name in the workspace.
    pub(crate) saved: &'a BTreeMap<String, String>,
}

/// Output as it was received.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct KeptOutput {
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
    /// Lengths of both where output between head and tail was left out.
    pub(crate) gap_at: Option<(usize, usize)>,
}

impl KeptOutput {
    /// Output is missing from here on.
    pub(crate) fn mark_gap(&mut self) {
        self.gap_at.get_or_insert((self.stdout.len(), self.stderr.len()));
    }
}

/// The object.
#[derive(Debug, Serialize)]
pub(crate) struct JobReport {
    id: String,
    state: String,
    verdict: VerdictReport,
    exception: Option<ExceptionReport>,
    value: Option<String>,
    stdout: String,
    stderr: String,
    /// The exact bytes of a stream that is not UTF-8; its text has U+FFFD in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_base64: Option<String>,
    truncated: bool,
    output: OutputReport,
    usage: UsageReport,
    flags: FlagsReport,
    refused_calls: Vec<RefusedReport>,
    files: Vec<FileReport>,
    skipped_files: Vec<SkippedReport>,
    hints: Vec<String>,
    failure: Option<FailureReport>,
    receipt: Option<ReceiptReport>,
}

#[derive(Debug, Serialize)]
struct VerdictReport {
    kind: &'static str,
    code: Option<u8>,
    signal: Option<u8>,
    signal_name: Option<String>,
    limit: Option<&'static str>,
    call: Option<String>,
}

#[derive(Debug, Serialize)]
struct ExceptionReport {
    name: String,
    message: String,
    frames: Vec<FrameReport>,
    traceback: String,
}

#[derive(Debug, Serialize)]
struct FrameReport {
    file: String,
    line: u32,
    function: String,
}

#[derive(Debug, Default, Serialize)]
struct OutputReport {
    stdout: StreamReport,
    stderr: StreamReport,
}

#[derive(Debug, Default, Serialize)]
struct StreamReport {
    produced_bytes: u64,
    kept_bytes: u64,
    truncated: bool,
    /// How many bytes come before what was left out, in a truncated stream.
    gap_at: Option<usize>,
}

#[derive(Debug, Default, Serialize)]
struct UsageReport {
    wall_ms: f64,
    cpu_ms: f64,
    queue_ms: f64,
    memory_peak_bytes: Option<u64>,
    processes_peak: Option<u32>,
}

#[derive(Debug, Default, Serialize)]
struct FlagsReport {
    process_limit_hit: bool,
    children_out_of_memory: u32,
    leftover_processes_killed: u32,
    refused_calls_truncated: bool,
}

#[derive(Debug, Serialize)]
struct RefusedReport {
    name: String,
    count: u32,
}

#[derive(Debug, Serialize)]
struct FileReport {
    path: String,
    size: u64,
    file_id: String,
    /// Where it was written on this machine; `null` when it was not.
    saved_as: Option<String>,
}

#[derive(Debug, Serialize)]
struct SkippedReport {
    path: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct FailureReport {
    kind: &'static str,
    message: String,
    stage: Option<String>,
    item: Option<String>,
    errno: Option<i32>,
    remedy: Option<String>,
    retryable: Option<bool>,
    correlation_id: Option<String>,
}

/// A receipt, also as `doctor` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct ReceiptReport {
    backend: String,
    level: String,
    image: String,
    cell: String,
    layers: Vec<LayerReport>,
}

#[derive(Debug, Serialize)]
struct LayerReport {
    name: String,
    active: bool,
    state: &'static str,
    detail: String,
}

impl JobReport {
    /// The object for a job that has ended.
    pub(crate) fn new(ended: &Ended<'_>) -> Self {
        let bare = Self {
            id: ended.id.to_string(),
            state: ended.state.to_owned(),
            verdict: VerdictReport::of(ended.state, ended.result),
            exception: None,
            value: None,
            stdout: String::from_utf8_lossy(&ended.output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.output.stderr).into_owned(),
            stdout_base64: exact(&ended.output.stdout),
            stderr_base64: exact(&ended.output.stderr),
            truncated: false,
            output: OutputReport::default(),
            usage: UsageReport::default(),
            flags: FlagsReport::default(),
            refused_calls: Vec::new(),
            files: Vec::new(),
            skipped_files: Vec::new(),
            hints: Vec::new(),
            failure: None,
            receipt: None,
        };
        match ended.result {
            JobResult::Ran(outcome) => bare.with_outcome(outcome, ended.saved, ended.output.gap_at),
            JobResult::Failed(failure) => Self {
                failure: Some(FailureReport::of(failure)),
                ..bare
            },
            JobResult::CancelledInQueue => bare,
        }
    }

    fn with_outcome(
        self,
        outcome: &Outcome,
        saved: &BTreeMap<String, String>,
        gap_at: Option<(usize, usize)>,
    ) -> Self {
        // Every field by name, so that a new one cannot be forgotten here.
        let Outcome {
            verdict: _in_verdict_report,
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
            exception: exception.as_ref().map(ExceptionReport::of),
            value: value.clone(),
            truncated: stdout.truncated() || stderr.truncated(),
            output: OutputReport {
                stdout: StreamReport::of(stdout, gap_at.map(|(in_stdout, _)| in_stdout)),
                stderr: StreamReport::of(stderr, gap_at.map(|(_, in_stderr)| in_stderr)),
            },
            usage: UsageReport::of(usage),
            flags: FlagsReport::of(flags),
            refused_calls: refused_calls
                .iter()
                .map(|call| RefusedReport {
                    name: call.name.clone(),
                    count: call.count,
                })
                .collect(),
            files: files.iter().map(|file| FileReport::of(file, saved)).collect(),
            skipped_files: skipped_files.iter().map(SkippedReport::of).collect(),
            hints: hints.clone(),
            receipt: Some(ReceiptReport::of(receipt)),
            ..self
        }
    }
}

impl VerdictReport {
    fn of(state: &str, result: &JobResult) -> Self {
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
    fn of(exception: &Exception) -> Self {
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
    fn of(summary: &StreamSummary, gap_at: Option<usize>) -> Self {
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
    fn of(usage: &Usage) -> Self {
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
    fn of(flags: &Flags) -> Self {
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
    fn of(file: &CollectedFile, saved: &BTreeMap<String, String>) -> Self {
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
    fn of(file: &SkippedFile) -> Self {
        let SkippedFile { path, reason } = file;
        Self {
            path: path.clone(),
            reason: reason.clone(),
        }
    }
}

impl FailureReport {
    fn of(failure: &Failure) -> Self {
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

impl ReceiptReport {
    /// The receipt in the words of the interface.
    pub(crate) fn of(receipt: &Receipt) -> Self {
        let Receipt {
            backend,
            level,
            image,
            cell,
            layers,
        } = receipt;
        let layers = layers.iter().map(|layer| LayerReport {
            name: layer.name.clone(),
            active: layer.state != LayerState::Missing,
            state: layer_word(layer.state),
            detail: layer.detail.clone(),
        });
        Self {
            backend: backend.clone(),
            level: level.clone(),
            image: image.clone(),
            cell: cell.clone(),
            layers: layers.collect(),
        }
    }
}

/// The word for a layer's state.
pub(crate) fn layer_word(state: LayerState) -> &'static str {
    match state {
        LayerState::Active => "active",
        LayerState::Partial => "partial",
        LayerState::Missing => "missing",
    }
}

/// The bytes themselves, where text cannot carry them.
fn exact(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| base64(bytes))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let part = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let index = usize::try_from(bits >> shift & 63).unwrap_or(0);
            text.push(if at <= group.len() {
                char::from(DIGITS[index])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests;
