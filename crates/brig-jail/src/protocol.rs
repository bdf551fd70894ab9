//! What the daemon and the keeper say to each other: fixed-size records over one SEQPACKET socket.
//!
//! The keeper accepts no path, mount, uid, argument or policy from the daemon. A request names an image by
//! digest, a level, limits and a network policy; the keeper makes the [`crate::plan::JailPlan`] itself from its
//! own configuration and clamps to its own ceilings. A daemon that was taken over can ask for nothing but cells.
//!
//! A cell, seen from the daemon:
//!
//! ```text
//!  Open ──▶ Opened (cell number, receipt; descriptors: job, stdin, stdout, stderr)
//!             │  OpenFile  ──▶ FilesOpened (one socket to an enter-helper)      any time until Release
//!             │  Start (deadlines run from here; the daemon then sends the ExecSpec on `job`)
//!             │  Renew (keep-alive: the lease was renewed)
//!             │  Kill  (reason)
//!             ▼
//!           Ended (facts)     every process of the cell is gone
//!             │
//!           Release ─▶ Released     mounts, control groups and descriptors are gone too
//! ```
//!
//! Errors of a request come back as `Failed` with the request's number.

mod codec;

pub use codec::{REPLY_BYTES, REQUEST_BYTES};

use crate::stage::SetupFailure;
use serde::{Deserialize, Serialize};

/// Number of a request, chosen by the daemon; echoed in the answer.
pub type RequestNumber = u64;
/// Number of a cell, chosen by the keeper; never used twice in one keeper's life.
pub type CellNumber = u64;

/// The name of an image: its content digest. All zero is the host image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageDigest(pub [u8; 32]);

impl ImageDigest {
    /// The host's own interpreter and libraries, read-only.
    pub const HOST: ImageDigest = ImageDigest([0; 32]);
}

/// How much isolation the caller demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Level {
    /// Every layer.
    Strict = 1,
    /// The cgroup and the distinct uid may be missing.
    Workstation = 2,
}

impl Level {
    /// The stronger of both.
    #[must_use]
    pub fn at_least(self, minimum: Level) -> Level {
        if minimum == Level::Strict { minimum } else { self }
    }
}

/// The network of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Network {
    /// Loopback only.
    None = 0,
}

/// Limits of a cell, as requested by the daemon; the keeper clamps every one to its own ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellLimits {
    /// Memory including tmpfs, bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u32,
    /// CPU rate in thousandths of one CPU.
    pub cpu_millis: u32,
    /// `/workspace`, bytes.
    pub workspace_bytes: u64,
    /// `/workspace`, files.
    pub workspace_files: u32,
    /// `/tmp`, bytes.
    pub tmp_bytes: u64,
    /// `/tmp`, files.
    pub tmp_files: u32,
    /// `/dev/shm`, bytes.
    pub shm_bytes: u64,
    /// Largest single file, bytes.
    pub file_size_bytes: u64,
    /// Open descriptors per process.
    pub open_files: u32,
    /// CPU time of the whole cell, nanoseconds.
    pub cpu_time_nanos: u64,
}

/// Why a cell was killed by us. The first reason wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum KillReason {
    /// Cancelled by the caller, a quota or the emergency stop.
    Cancelled = 1,
    /// More output than allowed was produced.
    OutputLimit = 2,
    /// The wall-clock limit.
    WallTime = 3,
    /// The CPU-time limit.
    CpuTime = 4,
    /// The lease ran out without a keep-alive.
    Lease = 5,
    /// The daemon gave the cell up (its own fault or shutdown).
    Abandoned = 6,
}

/// From the daemon to the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Give me a cell.
    Open {
        /// Echoed.
        request: RequestNumber,
        /// Which image.
        image: ImageDigest,
        /// Which level.
        level: Level,
        /// Which network.
        network: Network,
        /// Which limits.
        limits: CellLimits,
    },
    /// The program starts now: deadlines count from the arrival of this record.
    Start {
        /// The cell.
        cell: CellNumber,
        /// Wall-clock limit, nanoseconds. Like the other times at most the keeper's ceiling, which 0 stands for.
        wall_nanos: u64,
        /// CPU-time limit, nanoseconds.
        cpu_nanos: u64,
        /// The cell kills itself at this moment without a [`Request::Renew`], nanoseconds of [`crate::boot_time`].
        /// A moment and not a span: a keeper that was stopped meanwhile must not make more of it. 0: as late as
        /// the keeper allows.
        lease_until_nanos: u64,
    },
    /// Keep-alive: the lease was renewed.
    Renew {
        /// The cell.
        cell: CellNumber,
        /// As in [`Request::Start`].
        lease_until_nanos: u64,
    },
    /// Kill every process of the cell.
    Kill {
        /// The cell.
        cell: CellNumber,
        /// Why.
        reason: KillReason,
    },
    /// Start an enter-helper for the cell's workspace; works until `Release`, also after the cell has died.
    OpenFiles {
        /// Echoed.
        request: RequestNumber,
        /// The cell.
        cell: CellNumber,
    },
    /// Forget the cell: kill what runs, free everything.
    Release {
        /// The cell.
        cell: CellNumber,
    },
    /// Which layers does this host give?
    Probe {
        /// Echoed.
        request: RequestNumber,
    },
    /// No new cells, and the end of this socket is a clean end when the last cell is gone.
    Drain,
}

/// How a cell's main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MainExit {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Signalled(u8),
    /// PID 1 died before it could tell (killed from outside with the whole cell).
    Unknown,
    /// It never ran: the set-up failed.
    Setup(SetupFailure),
}

/// A system call that the filter refused, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedCall {
    /// The call's number on this architecture.
    pub number: u32,
    /// How often, saturating.
    pub count: u32,
}

/// How many different refused calls a record can name; more set `refused_truncated`.
pub const REFUSED_CALLS_MAX: usize = 16;

/// What the kernel counted for a cell. Everything here comes from the kernel, nothing from the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellFacts {
    /// The main process.
    pub main: MainExit,
    /// Why we killed the cell, if we did.
    pub killed: Option<KillReason>,
    /// From `Start` to the last process gone, CLOCK_MONOTONIC, nanoseconds.
    pub wall_nanos: u64,
    /// CPU time of all processes, nanoseconds.
    pub cpu_nanos: u64,
    /// How long the CPU rate held the cell back, nanoseconds; 0 when unknown.
    pub cpu_throttled_nanos: u64,
    /// Highest memory use, bytes; 0 when unknown.
    pub memory_peak_bytes: u64,
    /// Most processes at once; 0 when unknown.
    pub processes_peak: u32,
    /// Processes killed by the memory limit.
    pub oom_kills: u32,
    /// Forks refused by the process limit.
    pub forks_refused: u32,
    /// Processes that outlived the main one and were killed.
    pub leftovers_killed: u32,
    /// Refused system calls; the first `refused_len` entries count.
    pub refused: [RefusedCall; REFUSED_CALLS_MAX],
    /// Valid entries of `refused`.
    pub refused_len: u8,
    /// Refusals went uncounted after the budget.
    pub refused_truncated: bool,
}

/// Whether a layer is there, as tried on this host or as active in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LayerState {
    /// Active and whole.
    Active = 1,
    /// Missing, and the level or the operator allows that.
    Missing = 2,
    /// Active in part; the detail says which part is missing.
    Partial = 3,
}

/// Version of the control groups that hold a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CgroupKind {
    /// None.
    None = 0,
    /// Version 1 trees only.
    V1 = 1,
    /// Pure version 2.
    V2 = 2,
    /// Limits in version 1 trees, membership and kill in the version 2 tree.
    Hybrid = 3,
}

/// Where the cell's uid comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UidKind {
    /// The invoking user's own id (bare rootless).
    Own = 0,
    /// A slot of the range configured for root.
    RootRange = 1,
    /// A slot of the user's subordinate range.
    Subordinate = 2,
}

/// The isolation receipt, as the keeper knows it. The daemon adds words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each a line of the receipt"
)]
pub struct CellReceipt {
    /// The level that was asked for.
    pub level: Level,
    /// Namespaces: a bit per CLONE_NEW* flag, as in clone(2), in the low 32 bits.
    pub namespaces: u32,
    /// Host-side uid of the cell.
    pub uid: u32,
    /// Where the uid comes from.
    pub uid_kind: UidKind,
    /// Control groups.
    pub cgroup: CgroupKind,
    /// A bit per controller that limits this cell: 1 memory, 2 cpu, 4 pids, 8 io, 16 swap is off, 32 kill file.
    pub controllers: u8,
    /// ABI of Landlock in force; 0 when Landlock is missing.
    pub landlock_abi: u8,
    /// Whether the domain is fully enforced.
    pub landlock: LayerState,
    /// Calls that the filter allows.
    pub allowed_calls: u16,
    /// First 16 bytes of the SHA-256 of the compiled filters.
    pub filter_digest: [u8; 16],
    /// Whether refused calls are reported.
    pub refusals_reported: bool,
    /// Whether `/proc` is the cell's own (false: synthetic).
    pub own_proc: bool,
    /// Whether PID 1 runs in a raised scheduling class.
    pub init_class_raised: bool,
    /// Whether the cell was prepared before the request came.
    pub prepared: bool,
}

/// From the keeper to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A cell. Descriptors, in order: job (write), stdin (write), stdout (read), stderr (read), runner (read). All are
    /// pipes: over a socket a program could hand descriptors to the daemon.
    Opened {
        /// Echoed.
        request: RequestNumber,
        /// Its number.
        cell: CellNumber,
        /// Its layers.
        receipt: CellReceipt,
    },
    /// One descriptor: the socket to the enter-helper.
    FilesOpened {
        /// Echoed.
        request: RequestNumber,
        /// The cell.
        cell: CellNumber,
    },
    /// The request was not carried out.
    Failed {
        /// Echoed.
        request: RequestNumber,
        /// Where.
        failure: SetupFailure,
    },
    /// No process of the cell is left.
    Ended {
        /// The cell.
        cell: CellNumber,
        /// What happened.
        facts: CellFacts,
    },
    /// Nothing of the cell is left.
    Released {
        /// The cell.
        cell: CellNumber,
    },
    /// Answer to [`Request::Probe`].
    Probed {
        /// Echoed.
        request: RequestNumber,
        /// The layers of a throw-away cell of the highest level that the host can give.
        receipt: CellReceipt,
        /// The first thing that keeps `strict` from working, if any.
        strict: Option<SetupFailure>,
        /// The first thing that keeps `workstation` from working, if any.
        workstation: Option<SetupFailure>,
    },
}
