//! The runner: a small Python program inside every cell that starts the user's program as `python3 FILE` would and
//! tells what only it can know: the last value, an uncaught exception.
//!
//! ```text
//!  argv: python3 -c BOOT          (boot.py: reads the runner itself from descriptor 3)
//!  daemon ─▶ RUNNER, JOB          one write, right behind the ExecSpec
//!         ◀─ STARTED              just before the program's first instruction
//!         ◀─ VALUE or EXCEPTION   when its main code has ended; threads and atexit run afterwards
//!         ◀─ (end of file)
//! ```
//!
//! The runner is inside the cell and not trusted. Its source is compiled once per image by a cell that is given
//! nothing of any user (see [`COMPILE_ONLY`](frame::JobMode::CompileOnly)); the compiled form is kept in memory and
//! sent along from then on, which saves 1 to 2 ms per job.

pub mod decode;
pub mod frame;

use frame::{JobFrame, JobMode, RunnerParts};

/// The line on argv. Passed with `-c`.
pub const BOOT: &str = include_str!("../../../../sandbox-images/runner/brig_runner/boot.py");
/// What every program needs.
pub const RUNNER_SOURCE: &[u8] = include_bytes!("../../../../sandbox-images/runner/brig_runner/runner.py");
/// What some programs need.
pub const REPORT_SOURCE: &[u8] = include_bytes!("../../../../sandbox-images/runner/brig_runner/report.py");
/// Longest text of a value, bytes.
pub const VALUE_MAX: u32 = 64 * 1024;

/// The runner as bytecode of one interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The interpreter's bytecode magic; another interpreter falls back to the source by itself.
    pub magic: [u8; 4],
    /// `runner.py`, marshalled.
    pub runner: Vec<u8>,
    /// `report.py`, marshalled.
    pub report: Vec<u8>,
}

/// The RUNNER frame: source always, bytecode where we have it.
#[must_use]
pub fn runner_frame(compiled: Option<&Compiled>) -> Vec<u8> {
    let (magic, runner, report) = match compiled {
        Some(compiled) => (
            compiled.magic,
            compiled.runner.as_slice(),
            compiled.report.as_slice(),
        ),
        None => ([0; 4], [].as_slice(), [].as_slice()),
    };
    frame::encode_runner(
        magic,
        &RunnerParts {
            runner_code: runner,
            runner_source: RUNNER_SOURCE,
            report_code: report,
            report_source: REPORT_SOURCE,
        },
    )
}

/// The JOB frame that asks for the compiled form and runs nothing.
#[must_use]
pub fn compile_only_frame() -> Vec<u8> {
    frame::encode_job(&JobFrame {
        mode: JobMode::CompileOnly,
        value_max: 0,
        name: "",
        args: &[],
        source: &[],
    })
}
