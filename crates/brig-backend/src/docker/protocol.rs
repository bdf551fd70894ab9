//! What the daemon and the engine broker say to each other: one JSON object a record over a SEQPACKET socket.
//!
//! The broker alone may open the engine's socket, which is as good as root. So it accepts no path, no field of a
//! container's configuration, no command, no environment, no name of an engine's image and no policy: a request names a
//! root file system by digest, a configured backend, limits, a job's id. The broker makes the container from its own
//! configuration and clamps to its own ceilings. A daemon that was taken over can ask for nothing but cells.
//!
//! A cell, seen from the daemon:
//!
//! ```text
//!  Open ──▶ Opened (number, receipt; one stream socket: the container's wire, relayed as bytes)
//!             │  Start   the broker's own deadlines run from here (the daemon also sends Start on the wire)
//!             │  Renew   the lease was renewed
//!             │          ◀── Overrun: the CPU time is used up. The daemon ends the program by the wire, so that files can
//!             │              be fetched; a second of CPU time later the broker kills the container
//!             │  Facts ──▶ Facts: what the kernel counted. The program is over: the wall deadline becomes one for files
//!             │  Kill    the container dies, with its files
//!             │          ◀── Gone: the container ended, for whatever reason; once for every cell, unless Release was first
//!           Release ─▶ Released    nothing of the container is left
//! ```
//!
//! [`Reply::Hello`] comes first, and again from a broker that was started in the place of a dead one: every earlier cell
//! is lost then, and every request that was not answered.

pub use crate::images::RootDigest;
use brig_jail::protocol::{CellLimits, KillReason};
use brig_jail::record::{RecordError, RecordSocket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};
use uuid::Uuid;

mod receipt;

pub use receipt::{CgroupLimits, ContainerReceipt, EngineName, SeccompReceipt};

/// The longest record.
pub const RECORD_BYTES: usize = 16 * 1_024;
/// Descriptors that one record carries at most.
pub const DESCRIPTORS_MAX: usize = 1;
/// The version of this protocol: both ends are the same program, so any difference is a mistake.
pub const VERSION: u32 = 1;

/// Number of a request, chosen by the daemon; echoed in the answer.
pub type RequestNumber = u64;
/// Number of a cell, chosen by the broker; never used twice, also not by a broker that takes the place of a dead one.
pub type CellNumber = u64;

/// The name of a configured backend: `docker`, or that of a `[docker.backends.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendName(String);

/// Not the name of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of a backend has 1 to 64 letters, digits, `-`, `_` and `.`, and begins with a letter or digit"
)]
pub struct NotABackendName;

impl BackendName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BackendName {
    type Error = NotABackendName;
    fn try_from(text: String) -> Result<BackendName, NotABackendName> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let begins = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if begins && text.len() <= 64 && text.as_bytes().iter().all(plain) {
            Ok(BackendName(text))
        } else {
            Err(NotABackendName)
        }
    }
}

impl From<BackendName> for String {
    fn from(name: BackendName) -> String {
        name.0
    }
}

impl std::fmt::Display for BackendName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

/// How a cell may come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It was started before the request came.
    Warm,
    /// It was started for the request.
    Cold,
}

/// From the daemon to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Give me a cell.
    Open {
        /// Echoed.
        request: RequestNumber,
        /// Which root file system.
        image: RootDigest,
        /// Which of the configured backends.
        backend: BackendName,
        /// Which limits; each at most the broker's ceiling.
        limits: CellLimits,
        /// For which job: a label of the container, and nothing that its program can see.
        job: Uuid,
        /// A container that nobody kept ready.
        fresh: bool,
    },
    /// The program starts now.
    Start {
        /// The cell.
        cell: CellNumber,
        /// Wall-clock limit, nanoseconds; at most the broker's ceiling, which 0 stands for. The broker kills a second later.
        wall_nanos: u64,
        /// CPU-time limit of everything in the container, nanoseconds; as the wall limit.
        cpu_nanos: u64,
        /// From now on, nanoseconds; as the wall limit. The broker kills a second later.
        lease_nanos: u64,
    },
    /// The lease was renewed.
    Renew {
        /// The cell.
        cell: CellNumber,
        /// As in [`Request::Start`].
        lease_nanos: u64,
    },
    /// Kill the container, files included.
    Kill {
        /// The cell.
        cell: CellNumber,
        /// Why; the first reason wins.
        reason: KillReason,
    },
    /// The program is over: what did the kernel count?
    Facts {
        /// The cell.
        cell: CellNumber,
    },
    /// Forget the cell: kill what runs, free everything.
    Release {
        /// The cell.
        cell: CellNumber,
    },
    /// What does this backend give?
    Probe {
        /// Echoed.
        request: RequestNumber,
        /// Which of the configured backends.
        backend: BackendName,
    },
}

/// What the kernel and the engine counted for a container. What is not known is 0, as in the keeper's facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerFacts {
    /// Processes killed by the memory limit.
    pub oom_kills: u32,
    /// Forks refused by the process limit.
    pub forks_refused: u32,
    /// CPU time of all processes since [`Request::Start`], nanoseconds.
    pub cpu_nanos: u64,
    /// How long the CPU rate held the container back.
    pub throttled_nanos: u64,
    /// Highest memory use, bytes.
    pub memory_peak_bytes: u64,
    /// Most processes at once.
    pub processes_peak: u32,
    /// What the engine says of the container's own end: its first process died of the memory limit.
    pub oom_killed: Option<bool>,
    /// What the engine says of the container's own end.
    pub exit_code: Option<i64>,
}

/// Why a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WhyGone {
    /// The broker killed it, for the reason that the daemon gave or for a limit.
    Killed {
        /// The first reason.
        reason: KillReason,
    },
    /// Its first process died of the memory limit.
    OutOfMemory,
    /// Somebody removed or killed it by hand, or it ended by itself.
    ByHand,
    /// The engine stopped, or lost it.
    EngineLost,
}

/// How well a backend can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Everything works.
    Serving,
    /// Cells can be had, and something is not as configured: the warm pool cannot be filled, for one.
    Degraded,
    /// No cell can be had.
    Unavailable,
}

/// What stands in the way, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// Step: `engine`, `image`, `create`, `verify`, `attach`, `start`, `request`.
    pub stage: String,
    /// What: the engine's or the image's name, the field that was ignored.
    pub item: String,
    /// The kernel's or, above 0 too, 0 when none applies.
    pub errno: i32,
    /// What to do about it.
    pub remedy: String,
}

/// Counters for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolCounts {
    /// Containers that wait for a job.
    pub warm: u32,
    /// Containers that have one.
    pub leased: u32,
    /// Cells that were given out warm.
    pub warm_starts: u64,
    /// Cells that were started on request.
    pub cold_starts: u64,
}

/// From the broker to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// A broker is here, and nothing that an earlier one had.
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// A cell. One descriptor: the container's wire, both ways.
    Opened {
        /// Echoed.
        request: RequestNumber,
        /// Its number.
        cell: CellNumber,
        /// Whether it was kept ready.
        how: How,
        /// Its layers, as read back from the engine.
        receipt: ContainerReceipt,
    },
    /// The request was not carried out.
    Refused {
        /// Echoed.
        request: RequestNumber,
        /// Why.
        trouble: Trouble,
    },
    /// Answer to [`Request::Facts`].
    Facts {
        /// The cell.
        cell: CellNumber,
        /// What was counted until now; or until the container ended.
        facts: ContainerFacts,
    },
    /// The CPU time is used up.
    Overrun {
        /// The cell.
        cell: CellNumber,
        /// Which limit.
        reason: KillReason,
    },
    /// The container ended.
    Gone {
        /// The cell.
        cell: CellNumber,
        /// Why.
        why: WhyGone,
        /// The last that was counted.
        facts: ContainerFacts,
    },
    /// Nothing of the container is left.
    Released {
        /// The cell.
        cell: CellNumber,
    },
    /// Answer to [`Request::Probe`].
    Probed {
        /// Echoed.
        request: RequestNumber,
        /// What a throw-away cell of it says, where one could be made.
        receipt: Option<ContainerReceipt>,
        /// What keeps it from working, if anything.
        trouble: Option<Trouble>,
    },
    /// The state of a backend changed, or its counts did (at most once a second).
    Health {
        /// Which.
        backend: BackendName,
        /// How it is.
        state: HealthState,
        /// Why, where it is not [`HealthState::Serving`].
        why: String,
        /// For metrics.
        counts: PoolCounts,
    },
}

/// Why a record could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The socket.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Not a record of this protocol, or one that is too long for it.
    #[error("a record makes no sense")]
    Malformed,
}

/// The record of a message.
///
/// # Errors
/// It would be too long.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ProtocolError> {
    let record = serde_json::to_vec(message).map_err(|_never| ProtocolError::Malformed)?;
    if record.len() > RECORD_BYTES {
        return Err(ProtocolError::Malformed);
    }
    Ok(record)
}

/// The message of a record.
///
/// # Errors
/// It is not one, or too long.
pub fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<T, ProtocolError> {
    if record.len() > RECORD_BYTES {
        return Err(ProtocolError::Malformed);
    }
    serde_json::from_slice(record).map_err(|_nonsense| ProtocolError::Malformed)
}

/// Sends a message, without waiting.
///
/// # Errors
/// The socket is full or closed, or the message too long.
pub fn send<T: Serialize>(
    socket: &RecordSocket,
    message: &T,
    descriptor: Option<&OwnedFd>,
) -> Result<(), ProtocolError> {
    let record = encode(message)?;
    let descriptors: Vec<_> = descriptor.into_iter().map(AsFd::as_fd).collect();
    Ok(socket.send(&record, &descriptors)?)
}

/// The next message with its descriptor, without waiting.
///
/// # Errors
/// There is none yet, the socket is closed, or what came is none.
pub fn receive<T: DeserializeOwned>(socket: &RecordSocket) -> Result<(T, Option<OwnedFd>), ProtocolError> {
    let (record, descriptors) = socket.receive(RECORD_BYTES, DESCRIPTORS_MAX)?;
    Ok((decode(&record)?, descriptors.into_iter().next()))
}

#[cfg(test)]
pub(in crate::docker) mod tests;
