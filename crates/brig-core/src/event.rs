//! What a watcher sees of a job.

use crate::id::JobId;
use crate::receipt::Receipt;
use crate::spec::Blob;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Which output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Output beyond what is kept: between head and tail.
    OutputKept,
    /// The watcher was too slow.
    SlowWatcher,
    /// Retention removed them.
    Expired,
}

/// One event's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventBody {
    /// Accepted and queued: always the first event.
    Queued,
    /// An attempt got a cell and starts.
    Started {
        /// What isolates it.
        receipt: Receipt,
    },
    /// Output.
    Output {
        /// Of which stream.
        stream: StreamName,
        /// The bytes.
        data: Blob,
    },
    /// An attempt was lost and the job waits again.
    Requeued {
        /// Why.
        reason: String,
    },
    /// Cancellation was asked for; untrusted code may still run.
    Cancelling,
    /// The terminal record: always the last event. `Get` has the details.
    Ended {
        /// `finished`, `failed` or `cancelled`.
        state: String,
        /// The `kind` word of the verdict or failure.
        kind: String,
    },
    /// Events that are not there any more.
    Gap {
        /// First missing number.
        from_seq: u64,
        /// Last missing number.
        to_seq: u64,
        /// Output bytes among them.
        bytes: u64,
        /// Why.
        reason: GapReason,
    },
}

/// One event, numbered by the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEventRecord {
    /// Of which job.
    pub job: JobId,
    /// Number within the job, from 1, never used twice. A gap has the number of its first missing event.
    pub seq: u64,
    /// Which attempt wrote it; 0 before the first.
    pub attempt: u32,
    /// When, by the store's clock.
    pub time: Timestamp,
    /// What.
    pub body: EventBody,
}
