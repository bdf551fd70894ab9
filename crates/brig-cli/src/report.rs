//! The one object that `--json` prints for a job. Its fields are part of the interface: add, never change.

mod base64;
mod failure;
mod parts;
mod receipt;

pub(crate) use failure::describe_failure;
pub(crate) use receipt::{ReceiptReport, layer_word};

use base64::exact;
use brig_core::id::JobId;
use brig_core::outcome::Outcome;
use brig_core::store::JobResult;
use failure::FailureReport;
use parts::{
    ExceptionReport, FileReport, FlagsReport, OutputReport, RefusedReport, SkippedReport, StreamReport,
    UsageReport, VerdictReport,
};
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

#[cfg(test)]
mod tests;
