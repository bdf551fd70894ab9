//! The frames of the runner channel. Both ways: u32 little-endian length of the payload, u8 type, payload.
//! A text is a u32 length and that many bytes.
//!
//! | type | name | payload |
//! | --- | --- | --- |
//! | 0x01 | RUNNER | magic (4 bytes), four u32 lengths, then: runner code, runner source, report code, report source |
//! | 0x02 | JOB | u8 mode, u32 most bytes of a value, text name, u32 count, that many texts (arguments), text source |
//! | 0x81 | STARTED | magic (4 bytes), u8 1 when the runner came from source, then the interpreter's version |
//! | 0x82 | COMPILED | magic (4 bytes), text runner code, text report code, then the interpreter's version |
//! | 0x83 | VALUE | u8 1 when shortened, then the text of the value |
//! | 0x84 | EXCEPTION | texts: module being imported, class, message, traceback; u32 count of frames, each u32 line, text file, text function |
//! | 0x85 | TROUBLE | what the runner itself could not do |
//!
//! Types from 0x81 come from the cell; unknown ones are skipped, so that a newer runner can say more.

/// Bytes before a payload.
pub const HEADER_BYTES: usize = 5;

/// Types of frames that the daemon sends.
pub(crate) const RUNNER: u8 = 0x01;
pub(crate) const JOB: u8 = 0x02;
/// Types of frames that a runner sends.
pub(crate) const STARTED: u8 = 0x81;
pub(crate) const COMPILED: u8 = 0x82;
pub(crate) const VALUE: u8 = 0x83;
pub(crate) const EXCEPTION: u8 = 0x84;
pub(crate) const TROUBLE: u8 = 0x85;

/// What the runner does with the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum JobMode {
    /// Writes it to the named file below the working directory and runs that, as `python3 NAME`.
    File = 0,
    /// Runs it as `python3 -c SOURCE`.
    Code = 1,
    /// Runs nothing: answers with the runner's own compiled form.
    CompileOnly = 2,
}

/// A JOB frame.
#[derive(Debug, Clone, Copy)]
pub struct JobFrame<'a> {
    /// See [`JobMode`].
    pub mode: JobMode,
    /// Longest text of the last value.
    pub value_max: u32,
    /// Path below the working directory, for [`JobMode::File`].
    pub name: &'a str,
    /// `sys.argv[1:]`.
    pub args: &'a [String],
    /// The program.
    pub source: &'a [u8],
}

/// The parts of a RUNNER frame.
#[derive(Debug, Clone, Copy)]
pub struct RunnerParts<'a> {
    /// `runner.py`, marshalled, or empty.
    pub runner_code: &'a [u8],
    /// `runner.py`.
    pub runner_source: &'a [u8],
    /// `report.py`, marshalled, or empty.
    pub report_code: &'a [u8],
    /// `report.py`.
    pub report_source: &'a [u8],
}

/// Encodes a RUNNER frame.
#[must_use]
pub fn encode_runner(magic: [u8; 4], parts: &RunnerParts<'_>) -> Vec<u8> {
    let bodies = [
        parts.runner_code,
        parts.runner_source,
        parts.report_code,
        parts.report_source,
    ];
    let mut payload = magic.to_vec();
    for body in bodies {
        payload.extend_from_slice(&length(body.len()));
    }
    for body in bodies {
        payload.extend_from_slice(body);
    }
    frame(RUNNER, &payload)
}

/// Encodes a JOB frame.
#[must_use]
pub fn encode_job(job: &JobFrame<'_>) -> Vec<u8> {
    let mut payload = Vec::with_capacity(job.source.len() + 256);
    payload.push(job.mode as u8);
    payload.extend_from_slice(&job.value_max.to_le_bytes());
    text(&mut payload, job.name.as_bytes());
    payload.extend_from_slice(&length(job.args.len()));
    for arg in job.args {
        text(&mut payload, arg.as_bytes());
    }
    text(&mut payload, job.source);
    frame(JOB, &payload)
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&length(payload.len()));
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    bytes
}

fn text(payload: &mut Vec<u8>, bytes: &[u8]) {
    payload.extend_from_slice(&length(bytes.len()));
    payload.extend_from_slice(bytes);
}

/// Saturates: everything that is sent was bounded to far less than 4 GiB when the request was accepted.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_frame_is_laid_out_as_documented() {
        let args = ["a".to_owned()];
        let bytes = encode_job(&JobFrame {
            mode: JobMode::Code,
            value_max: 7,
            name: "n",
            args: &args,
            source: b"src",
        });
        let expected: &[u8] = b"\x1a\0\0\0\x02\x01\x07\0\0\0\x01\0\0\0n\x01\0\0\0\x01\0\0\0a\x03\0\0\0src";
        assert_eq!(bytes, expected);
    }
}
