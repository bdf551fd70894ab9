//! What became of a job, in the words that users see.

use crate::exit::RefusedCall;
use crate::id::FileId;
use crate::receipt::Receipt;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which clock ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeLimit {
    /// Wall clock.
    Wall,
    /// CPU time.
    Cpu,
}

impl TimeLimit {
    /// The word in results.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Cpu => "cpu",
        }
    }
}

/// What the program did. Brig's own faults are a [`Failure`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It ended by itself.
    Exited {
        /// Exit code.
        code: u8,
    },
    /// It was killed by its own fault or signal.
    Signalled {
        /// Number of the signal.
        signal: u8,
    },
    /// Our deadline.
    TimedOut {
        /// Which clock.
        limit: TimeLimit,
    },
    /// The main process died of the memory limit.
    OutOfMemory,
    /// It produced more output than allowed.
    OutputLimit,
    /// It died of the file-size limit.
    DiskLimit,
    /// The filter killed it.
    RefusedCall {
        /// Name of the call, where known.
        name: String,
    },
    /// It was cancelled while it ran.
    Cancelled,
}

impl Verdict {
    /// The `kind` word; the same in enum, SQL, proto, JSON and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exited { .. } => "exited",
            Self::Signalled { .. } => "signalled",
            Self::TimedOut { .. } => "timed_out",
            Self::OutOfMemory => "out_of_memory",
            Self::OutputLimit => "output_limit",
            Self::DiskLimit => "disk_limit",
            Self::RefusedCall { .. } => "refused_call",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why Brig could not run a job: never the program's fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The cell could not be built or the program not started.
    SetupError {
        /// Which step.
        stage: String,
        /// Which item of it, in words where known.
        item: String,
        /// The kernel's error number, 0 when none applies.
        errno: i32,
        /// What to do about it.
        remedy: String,
    },
    /// The daemon or its keeper went away while the job ran.
    Interrupted {
        /// Whether submitting again can help.
        retryable: bool,
        /// What went away.
        reason: String,
    },
    /// A fault of ours; the log has the details under this id.
    InternalError {
        /// Look for it in the log.
        correlation_id: String,
    },
    /// It waited longer than its queue time-out.
    QueueExpired,
}

impl Failure {
    /// The `kind` word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SetupError { .. } => "setup_error",
            Self::Interrupted { .. } => "interrupted",
            Self::InternalError { .. } => "internal_error",
            Self::QueueExpired => "queue_expired",
        }
    }
}

/// One frame of a traceback, of the user's own files only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// File as the program names it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Function.
    pub function: String,
}

/// An uncaught exception, as reported by the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// Class name, qualified unless builtin.
    pub name: String,
    /// `str()` of it, bounded.
    pub message: String,
    /// The user's frames, outermost first, bounded.
    pub frames: Vec<Frame>,
    /// The traceback as Python prints it, bounded.
    pub traceback: String,
}

/// What one output stream amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// Bytes that the program wrote.
    pub produced_bytes: u64,
    /// Bytes that were kept (head and tail).
    pub kept_bytes: u64,
}

impl StreamSummary {
    /// Whether bytes between head and tail were dropped.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.kept_bytes < self.produced_bytes
    }
}

/// What a job used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From start to the last process gone.
    pub wall: Duration,
    /// CPU time of all processes.
    pub cpu: Duration,
    /// Time in the queue.
    pub queue: Duration,
    /// Highest memory use, where counted.
    pub memory_peak_bytes: Option<u64>,
    /// Most processes at once, where counted.
    pub processes_peak: Option<u32>,
}

/// Things that happened beside the verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// A fork was refused by the process limit.
    pub process_limit_hit: bool,
    /// Processes killed by the memory limit (beside the main one).
    pub children_out_of_memory: u32,
    /// Processes that outlived the main one and were killed.
    pub leftover_processes_killed: u32,
    /// Some refused calls went uncounted.
    pub refused_calls_truncated: bool,
}

/// A file that was collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedFile {
    /// Path below `/workspace`; bytes that are not UTF-8 are escaped as `\xNN`.
    pub path: String,
    /// Where the file service keeps it.
    pub file: FileId,
    /// Size in bytes.
    pub size: u64,
}

/// A file that matched but was not collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedFile {
    /// Path below `/workspace`, escaped.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// The result of a program that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What it did.
    pub verdict: Verdict,
    /// Reported by the program: an uncaught exception.
    pub exception: Option<Exception>,
    /// Reported by the program: `repr` of the last expression's value.
    pub value: Option<String>,
    /// Standard output.
    pub stdout: StreamSummary,
    /// Standard error.
    pub stderr: StreamSummary,
    /// What it used.
    pub usage: Usage,
    /// What else happened.
    pub flags: Flags,
    /// Refused system calls.
    pub refused_calls: Vec<RefusedCall>,
    /// Collected files.
    pub files: Vec<CollectedFile>,
    /// Files that matched but were not collected.
    pub skipped_files: Vec<SkippedFile>,
    /// Which limit was hit, why an import failed, and what to do: whole sentences.
    pub hints: Vec<String>,
    /// What isolated it.
    pub receipt: Receipt,
}
