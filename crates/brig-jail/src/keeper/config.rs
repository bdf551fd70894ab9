//! What the operator decides about cells. The daemon decides nothing of this: a request names limits and a
//! level, the keeper clamps them and takes everything else from here.

use crate::plan::DisabledLayer;
use crate::protocol::{CellLimits, ImageDigest, Level};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::path::PathBuf;

/// First uid and gid of the range that a keeper running as root maps by default.
pub const DEFAULT_ROOT_RANGE: IdRange = IdRange {
    first: 0x3000_0000,
    count: 65_536,
};

/// A range of user and group ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// A layer that the operator may name optional. No other layer can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionalLayer {
    /// Control groups.
    Cgroup,
    /// A host uid of its own for every cell.
    Uid,
    /// Landlock (kernels before 5.19).
    Landlock,
}

/// Where the host uids of cells come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UidSource {
    /// The best that the host gives: root's range, else the subordinate range, else the own uid.
    Best,
    /// The invoking user's own uid, as on a host without subordinate ranges.
    Own,
}

/// What to do where the kernel refuses a new `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyntheticProc {
    /// Refuse the cell.
    Forbidden,
    /// Build a small static `/proc`; the receipt names it.
    Allowed,
}

/// Whether control groups are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupUse {
    /// Where the host lets us.
    Best,
    /// Never, as on a host that delegates none.
    Never,
}

/// The image that every host has: its own interpreter and libraries, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostImage {
    /// The interpreter.
    pub python: PathBuf,
    /// Further directories or files that cells see read-only, at the same path (a virtual environment).
    pub read_only: Vec<PathBuf>,
}

/// Everything that a keeper needs to know. Serialisable, because `brig` hands it to the keeper that it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeeperConfig {
    /// The bytes of `brig-jail-init`. Not part of the serialised form: every `brig` carries its own.
    #[serde(skip)]
    pub init_image: Cow<'static, [u8]>,
    /// Names this installation (a hash of the data directory); leftovers of a dead keeper are found by it.
    pub instance: String,
    /// Layers that may be missing at any level.
    pub optional: Vec<OptionalLayer>,
    /// Where the uids of cells come from.
    pub uid_source: UidSource,
    /// The range that is mapped when the keeper is root.
    pub root_range: IdRange,
    /// Whether control groups are used.
    pub cgroups: CgroupUse,
    /// The group in which cells are made, as a path below the mount point of every tree, instead of the keeper's own.
    pub cgroup_base: Option<PathBuf>,
    /// Prepared cells that are kept ready.
    pub spares: usize,
    /// The first spare is built for this before any request comes.
    pub prewarm: Option<(ImageDigest, Level, CellLimits)>,
    /// Every requested limit is clamped to these.
    pub ceilings: CellLimits,
    /// Cells at once, spares included.
    pub max_cells: usize,
    /// No program runs longer, whatever a request names, and no cell waits longer for its program; nanoseconds.
    pub wall_ceiling_nanos: u64,
    /// No lease is longer, nanoseconds.
    pub lease_ceiling_nanos: u64,
    /// A request for less gets this.
    pub minimum_level: Level,
    /// The host image.
    pub host_image: HostImage,
    /// Stores of images, first wins. Cells see nothing of them but the root that a request names by its digest.
    #[serde(default)]
    pub images: Vec<PathBuf>,
    /// What to do where the kernel refuses a new `/proc`.
    pub synthetic_proc: SyntheticProc,
    /// Layers that a control arm turns off; init refuses every one without the build feature `control-arms`.
    pub disabled: Vec<DisabledLayer>,
    /// Capabilities that a control arm takes away from the keeper, by number; ignored without the build feature.
    #[serde(default)]
    pub without_capabilities: Vec<u8>,
    /// Rules that a control arm takes off the allow-list of system calls; refused without that build feature.
    pub without_rules: Vec<String>,
}

impl KeeperConfig {
    /// The defaults, for this `brig-jail-init` and installation.
    #[must_use]
    pub fn new(init_image: impl Into<Cow<'static, [u8]>>, instance: impl Into<String>) -> KeeperConfig {
        KeeperConfig {
            init_image: init_image.into(),
            instance: instance.into(),
            optional: Vec::new(),
            uid_source: UidSource::Best,
            root_range: DEFAULT_ROOT_RANGE,
            cgroups: CgroupUse::Best,
            cgroup_base: None,
            spares: 2,
            prewarm: None,
            ceilings: CellLimits::CEILINGS,
            max_cells: 128,
            wall_ceiling_nanos: 86_400 * SECOND,
            lease_ceiling_nanos: 86_400 * SECOND,
            minimum_level: Level::Workstation,
            host_image: HostImage {
                python: PathBuf::from("/usr/bin/python3"),
                read_only: Vec::new(),
            },
            images: Vec::new(),
            synthetic_proc: SyntheticProc::Forbidden,
            disabled: Vec::new(),
            without_capabilities: Vec::new(),
            without_rules: Vec::new(),
        }
    }

    /// Whether the operator named this layer optional.
    #[must_use]
    pub fn is_optional(&self, layer: OptionalLayer) -> bool {
        self.optional.contains(&layer)
    }
}

const MIB: u64 = 1 << 20;
const SECOND: u64 = 1_000_000_000;

impl CellLimits {
    /// The product's defaults for one job.
    pub const DEFAULT: CellLimits = CellLimits {
        memory_bytes: 512 * MIB,
        processes: 64,
        cpu_millis: 1_000,
        workspace_bytes: 256 * MIB,
        workspace_files: 16_384,
        tmp_bytes: 64 * MIB,
        tmp_files: 4_096,
        shm_bytes: 64 * MIB,
        file_size_bytes: 256 * MIB,
        open_files: 1_024,
        cpu_time_nanos: 60 * SECOND,
    };

    /// The most that a keeper gives unless its operator says otherwise.
    pub const CEILINGS: CellLimits = CellLimits {
        memory_bytes: 64 * 1_024 * MIB,
        processes: 512,
        cpu_millis: 64_000,
        workspace_bytes: 16 * 1_024 * MIB,
        workspace_files: 1_048_576,
        tmp_bytes: 4_096 * MIB,
        tmp_files: 262_144,
        shm_bytes: 4_096 * MIB,
        file_size_bytes: 16 * 1_024 * MIB,
        open_files: 4_096,
        cpu_time_nanos: 86_400 * SECOND,
    };

    /// Every limit at most the ceiling's, and none zero: a zero would mean "no limit" to some kernel interfaces.
    #[must_use]
    pub fn clamped_to(&self, ceilings: &CellLimits) -> CellLimits {
        let long = |value: u64, most: u64| value.clamp(1, most.max(1));
        let short = |value: u32, most: u32| value.clamp(1, most.max(1));
        CellLimits {
            memory_bytes: long(self.memory_bytes, ceilings.memory_bytes),
            processes: short(self.processes, ceilings.processes),
            cpu_millis: short(self.cpu_millis, ceilings.cpu_millis),
            workspace_bytes: long(self.workspace_bytes, ceilings.workspace_bytes),
            workspace_files: short(self.workspace_files, ceilings.workspace_files),
            tmp_bytes: long(self.tmp_bytes, ceilings.tmp_bytes),
            tmp_files: short(self.tmp_files, ceilings.tmp_files),
            shm_bytes: long(self.shm_bytes, ceilings.shm_bytes),
            file_size_bytes: long(self.file_size_bytes, ceilings.file_size_bytes),
            open_files: short(self.open_files, ceilings.open_files),
            cpu_time_nanos: long(self.cpu_time_nanos, ceilings.cpu_time_nanos),
        }
    }
}
