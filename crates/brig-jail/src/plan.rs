//! The plan of one cell: pure data, made and validated by the keeper, carried out by `brig-jail-init`.
//!
//! Everything that can fail because somebody asked for nonsense fails here, in the parent, with a name.

use serde::{Deserialize, Serialize};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

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
    /// Private memory of one process, bytes; `None` where a cgroup limits memory.
    pub process_memory_bytes: Option<u64>,
    /// RLIMIT_CPU, seconds; the fine limit is the keeper's.
    pub cpu_seconds: u64,
}

/// One entry of the image inside the new root, in mount order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageEntry {
    /// Bind a directory or file of the host, recursively, read-only, nosuid, nodev.
    ReadOnlyBind {
        /// Path outside; a relative one is below the image's root, where PID 1 starts.
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

/// One BPF instruction, as `struct sock_filter`. Travels as one number: a filter has hundreds of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
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

impl From<FilterInstruction> for u64 {
    fn from(one: FilterInstruction) -> u64 {
        u64::from(one.code) << 48 | u64::from(one.jt) << 40 | u64::from(one.jf) << 32 | u64::from(one.k)
    }
}

impl From<u64> for FilterInstruction {
    fn from(packed: u64) -> FilterInstruction {
        let [c1, c0, jt, jf, k3, k2, k1, k0] = packed.to_be_bytes();
        FilterInstruction {
            code: u16::from_be_bytes([c1, c0]),
            jt,
            jf,
            k: u32::from_be_bytes([k3, k2, k1, k0]),
        }
    }
}

/// The compiled seccomp filters, installed in order: the last one carries the listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterStack {
    /// x32 and compat calls kill.
    pub foreign_abi: Vec<FilterInstruction>,
    /// Calls that programs merely probe: plain errno, not counted. One filter per errno.
    pub probed: Vec<Vec<FilterInstruction>>,
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

/// What is wrong with a plan. The discriminant is the item of [`crate::stage::Stage::Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u16)]
#[non_exhaustive]
pub enum PlanError {
    /// Not the JSON of a plan.
    #[error("not a plan")]
    Malformed = 1,
    /// A layer is disabled, and this program was built without control arms.
    #[error("a layer is disabled, and this program cannot do without any")]
    DisabledLayer = 2,
    /// A path inside the cell is not absolute and plain.
    #[error("a path inside the cell is relative or contains `..`")]
    Target = 3,
    /// A host name that the kernel would refuse.
    #[error("the host name is empty or longer than 64 bytes")]
    HostName = 4,
    /// A size or count of zero.
    #[error("a size or a count is zero")]
    Zero = 5,
    /// A filter is empty or longer than the kernel takes.
    #[error("a filter is empty or has more than 4096 instructions")]
    Filter = 6,
    /// A path or content contains a NUL byte.
    #[error("a path contains a NUL byte")]
    NulByte = 7,
}

/// The longest filter that the kernel takes.
const FILTER_INSTRUCTIONS_MAX: usize = 4096;

impl JailPlan {
    /// Reads the JSON of a plan, and refuses what [`JailPlan::validate`] refuses.
    pub fn decode(json: &[u8]) -> Result<JailPlan, PlanError> {
        let plan: JailPlan = serde_json::from_slice(json).map_err(|_nonsense| PlanError::Malformed)?;
        plan.validate()?;
        Ok(plan)
    }

    /// Whether a layer is in force (always, but in control arms).
    pub fn has(&self, layer: DisabledLayer) -> bool {
        !self.disabled.contains(&layer)
    }

    /// Refuses what could only fail later, or worse, succeed.
    pub fn validate(&self) -> Result<(), PlanError> {
        if !self.disabled.is_empty() && !cfg!(feature = "control-arms") {
            return Err(PlanError::DisabledLayer);
        }
        for path in self.image.iter().map(ImageEntry::inside) {
            check_inside(path)?;
        }
        for path in self.landlock.read_execute.iter().chain(&self.landlock.read_write) {
            check_inside(path)?;
        }
        if self.host_name.is_empty() || self.host_name.len() > 64 || self.host_name.contains('\0') {
            return Err(PlanError::HostName);
        }
        self.shape.validate()?;
        let FilterStack {
            foreign_abi,
            probed,
            allow_list,
            listener: _,
        } = &self.filters;
        for filter in probed.iter().chain([foreign_abi, allow_list]) {
            if filter.is_empty() || filter.len() > FILTER_INSTRUCTIONS_MAX {
                return Err(PlanError::Filter);
            }
        }
        Ok(())
    }
}

impl ImageEntry {
    /// Where this entry appears inside the cell.
    pub fn inside(&self) -> &Path {
        match self {
            ImageEntry::ReadOnlyBind { target, .. }
            | ImageEntry::Device { target, .. }
            | ImageEntry::File { target, .. }
            | ImageEntry::Directory { target } => target,
            ImageEntry::Symlink { link, .. } => link,
        }
    }
}

impl CellShape {
    fn validate(&self) -> Result<(), PlanError> {
        let needed = [
            self.workspace_bytes,
            self.workspace_files,
            self.tmp_bytes,
            self.tmp_files,
            self.shm_bytes,
            self.file_size_bytes,
            self.open_files,
            self.processes,
            self.process_memory_bytes.unwrap_or(1),
            self.cpu_seconds,
        ];
        // A tmpfs with size 0 or nr_inodes 0 is one without any limit.
        if needed.contains(&0) {
            Err(PlanError::Zero)
        } else {
            Ok(())
        }
    }
}

fn check_inside(path: &Path) -> Result<(), PlanError> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(PlanError::NulByte);
    }
    let mut components = path.components();
    let absolute = components.next() == Some(Component::RootDir);
    let plain = components.all(|component| matches!(component, Component::Normal(_)));
    if absolute && plain {
        Ok(())
    } else {
        Err(PlanError::Target)
    }
}

#[cfg(test)]
mod tests;
