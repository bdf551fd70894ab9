//! The plan of one cell: pure data, made and validated by the keeper, carried out by `brig-jail-init`.
//!
//! Everything that can fail because somebody asked for nonsense fails here, in the parent, with a name.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The id of the unprivileged user inside every cell.
pub const AGENT_ID: u32 = 10_001;

/// What must be fixed before a cell is built and cannot change afterwards. Two requests of one shape can be
/// served by the same prepared cell; memory, processes, CPU rate and the deadlines are set when it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CellShape {
    /// Size of `/workspace`, bytes.
    pub workspace_bytes: u64,
    /// Files and directories in `/workspace`.
    pub workspace_files: u64,
    /// Size of `/tmp`, bytes.
    pub tmp_bytes: u64,
    /// Files and directories in `/tmp`.
    pub tmp_files: u64,
    /// Size of `/dev/shm`, bytes.
    pub shm_bytes: u64,
    /// RLIMIT_FSIZE, bytes.
    pub file_size_bytes: u64,
    /// RLIMIT_NOFILE.
    pub open_files: u64,
    /// RLIMIT_NPROC: the fork wall where no cgroup is. Counted per user namespace, so per cell.
    pub processes: u64,
    /// RLIMIT_AS, bytes; `None` where a cgroup limits memory.
    pub address_space_bytes: Option<u64>,
    /// RLIMIT_CPU, seconds; the fine limit is the keeper's.
    pub cpu_seconds: u64,
}

/// One entry of the image inside the new root, in mount order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageEntry {
    /// Bind a directory or file of the host, recursively, read-only, nosuid, nodev.
    ReadOnlyBind {
        /// Path outside.
        source: PathBuf,
        /// Path inside, absolute.
        target: PathBuf,
    },
    /// Bind a device node read-write, nosuid, noexec.
    Device {
        /// Path outside.
        source: PathBuf,
        /// Path inside, absolute.
        target: PathBuf,
    },
    /// Make a symbolic link.
    Symlink {
        /// Path inside, absolute.
        link: PathBuf,
        /// What it points to.
        points_to: PathBuf,
    },
    /// Make a read-only file with this content (it lives in the root tmpfs, which is sealed afterwards).
    File {
        /// Path inside, absolute.
        target: PathBuf,
        /// The content.
        content: String,
    },
    /// Make an empty directory.
    Directory {
        /// Path inside, absolute.
        target: PathBuf,
    },
}

/// How `/proc` is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcMount {
    /// A new procfs of the cell's own pid namespace.
    Own,
    /// The kernel refuses a new procfs here (the outer one is masked) and the operator allows this: a small
    /// tmpfs with static entries. Named in the receipt.
    Synthetic,
}

/// What Landlock grants. Everything not granted is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockPlan {
    /// Read and execute below these paths (inside the cell).
    pub read_execute: Vec<PathBuf>,
    /// Everything a program does with files below these paths.
    pub read_write: Vec<PathBuf>,
    /// Whether the operator named Landlock optional.
    pub requirement: Requirement,
}

/// Whether a missing layer refuses the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Requirement {
    /// The cell is not built without it.
    Required,
    /// The operator named it optional; the receipt says that it is missing.
    Optional,
}

/// One BPF instruction, as `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterInstruction {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// The compiled seccomp filters, installed in order: the last one carries the listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterStack {
    /// x32 and compat calls kill.
    pub foreign_abi: Vec<FilterInstruction>,
    /// Calls that programs merely probe: plain errno, not counted.
    pub probed: Vec<FilterInstruction>,
    /// The allow-list; everything else goes to the listener (or, without one, gets EPERM).
    pub allow_list: Vec<FilterInstruction>,
    /// Whether the allow-list filter is installed with a user-notification listener.
    pub listener: Listener,
}

/// Whether refused calls are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Listener {
    /// Installed with SECCOMP_FILTER_FLAG_NEW_LISTENER; the descriptor goes to the keeper.
    Keeper,
    /// No listener can be had on this host: refused calls are EPERM, the receipt says `refusals: unreported`.
    None,
}

/// A layer that a control arm turns off. Only with the build feature `control-arms`; the shipped program
/// refuses every plan that names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DisabledLayer {
    /// All three seccomp filters.
    Seccomp,
    /// The Landlock domain.
    Landlock,
    /// The cell keeps the outer network namespace.
    NetworkNamespace,
    /// The image is mounted writable.
    ReadOnlyRoot,
    /// Capabilities inside the user namespace are kept.
    Capabilities,
    /// Resource limits.
    Rlimits,
    /// The size limits of tmpfs.
    TmpfsLimits,
    /// The pid namespace.
    PidNamespace,
    /// Masks in `/proc`, `hidepid`.
    ProcMasks,
    /// The cgroup's limits (the group stays).
    CgroupLimits,
}

/// The whole plan of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailPlan {
    /// Sizes and limits.
    pub shape: CellShape,
    /// The image, in mount order.
    pub image: Vec<ImageEntry>,
    /// How `/proc` is had.
    pub proc_mount: ProcMount,
    /// The host name inside.
    pub host_name: String,
    /// What Landlock grants.
    pub landlock: LandlockPlan,
    /// Compiled filters.
    pub filters: FilterStack,
    /// Layers that a control arm turns off; empty in every shipped program.
    pub disabled: Vec<DisabledLayer>,
}
