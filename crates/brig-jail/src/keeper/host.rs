//! What this host gives, found out once when the keeper starts, and what follows from it for every cell.

use super::cell::{Cell, CellKind};
use super::{CgroupUse, KeeperConfig, KeeperError, OptionalLayer, SyntheticProc};
use crate::cgroup::{CONTROLLER_MISSING, CgroupHost, Controllers};
use crate::control::PlanMessage;
use crate::embedded::{seal_data, seal_init};
use crate::image::{HOST_NAME, plan_host_image};
use crate::image_root::{open_root, plan_root};
use crate::launch::NAMESPACES;
use crate::outer::OuterNamespace;
use crate::plan::{
    CellShape, DisabledLayer, ImageEntry, JailPlan, LandlockPlan, Listener, ProcMount, Requirement,
};
use crate::policy::{self, CompiledPolicy};
use crate::protocol::{CellLimits, CellReceipt, CgroupKind, ImageDigest, LayerState, Level, UidKind};
use crate::remedy::item;
use crate::stage::{SetupFailure, Stage};
use nix::errno::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Where a program may write.
const WRITABLE: [&str; 9] = [
    "/workspace",
    "/tmp",
    "/dev/shm",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

/// The host, ready to make cells.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) cgroups: Option<CgroupHost>,
    cgroups_missing: Option<SetupFailure>,
    pub(super) outer: Result<OuterNamespace, SetupFailure>,
    pub(super) init: OwnedFd,
    policy: CompiledPolicy,
    proc_mount: ProcMount,
    /// The packed plans of the kinds that were built last: cells of one kind have the same plan.
    packed: VecDeque<(CellKind, PlanMessage)>,
}

/// So many kinds of cells are remembered.
const PACKED_MAX: usize = 8;

/// A plan on its way to PID 1.
#[derive(Debug)]
pub(super) struct PackedPlan<'a> {
    pub(super) head: &'a [u8],
    pub(super) memfd: Option<OwnedFd>,
}

impl Host {
    /// Makes the outer namespace and the groups. What is missing is remembered, not an error: whether it may be
    /// missing depends on the request.
    pub(super) fn open(config: &KeeperConfig) -> Result<Host, KeeperError> {
        let (cgroups, cgroups_missing) = open_cgroups(config);
        let outer = OuterNamespace::open(config)?;
        let init = seal_init(&config.init_image).map_err(KeeperError::SealInit)?;
        let policy =
            policy::compile_without(Listener::Keeper, &config.without_rules).map_err(KeeperError::Policy)?;
        Ok(Host {
            cgroups,
            cgroups_missing,
            outer,
            init,
            policy,
            proc_mount: ProcMount::Own,
            packed: VecDeque::new(),
        })
    }

    /// The first thing that keeps this level from working, before a cell is even tried.
    pub(super) fn obstacle(&self, config: &KeeperConfig, level: Level) -> Option<SetupFailure> {
        let outer = match &self.outer {
            Ok(outer) => outer,
            Err(failure) => return Some(*failure),
        };
        if level == Level::Workstation {
            return None;
        }
        let cgroup = self
            .cgroups_missing
            .filter(|_| !config.is_optional(OptionalLayer::Cgroup));
        cgroup.or_else(|| {
            outer
                .missing_uid
                .filter(|_| !config.is_optional(OptionalLayer::Uid))
        })
    }

    /// After a failed set-up: whether another way is allowed on this host. The next cell then takes it.
    pub(super) fn fall_back(&mut self, config: &KeeperConfig, failure: &SetupFailure) -> bool {
        let eperm = failure.errno == Errno::EPERM as i32;
        let own_proc = self.proc_mount == ProcMount::Own;
        if failure.stage == Stage::Mount
            && eperm
            && own_proc
            && config.synthetic_proc == SyntheticProc::Allowed
        {
            self.proc_mount = ProcMount::Synthetic;
            self.packed.clear();
            return true;
        }
        let no_listener = failure.stage == Stage::Syscalls && failure.errno == Errno::EBUSY as i32;
        if no_listener && self.policy.stack.listener == Listener::Keeper {
            // A filter of somebody outside (a container engine) already has the one listener of this process tree.
            if let Ok(policy) = policy::compile_without(Listener::None, &config.without_rules) {
                self.policy = policy;
                self.packed.clear();
                return true;
            }
        }
        false
    }

    /// The part of the limits that is fixed when a cell is built.
    pub(super) fn shape(&self, config: &KeeperConfig, limits: &CellLimits) -> CellShape {
        let held = |bit| {
            self.cgroups
                .as_ref()
                .is_some_and(|host| host.controllers().has(bit))
        };
        let ceilings = &config.ceilings;
        // What a group enforces exactly is only fenced coarsely by rlimits, so that more requests have one shape.
        let processes = if held(Controllers::PIDS) {
            ceilings.processes
        } else {
            limits.processes
        };
        let cpu_nanos = if held(Controllers::CPU) {
            ceilings.cpu_time_nanos
        } else {
            limits.cpu_time_nanos
        };
        CellShape {
            workspace_bytes: limits.workspace_bytes,
            workspace_files: limits.workspace_files.into(),
            tmp_bytes: limits.tmp_bytes,
            tmp_files: limits.tmp_files.into(),
            shm_bytes: limits.shm_bytes,
            file_size_bytes: limits.file_size_bytes,
            open_files: limits.open_files.into(),
            processes: processes.into(),
            process_memory_bytes: (!held(Controllers::MEMORY)).then_some(limits.memory_bytes),
            cpu_seconds: (cpu_nanos / 1_000_000_000).saturating_add(1),
        }
    }

    /// The plan of a cell.
    fn plan(&self, config: &KeeperConfig, shape: CellShape, image: Vec<ImageEntry>) -> JailPlan {
        let requirement = if config.is_optional(OptionalLayer::Landlock) {
            Requirement::Optional
        } else {
            Requirement::Required
        };
        JailPlan {
            shape,
            image,
            proc_mount: self.proc_mount,
            host_name: HOST_NAME.to_owned(),
            landlock: LandlockPlan {
                // The root of a cell is the image and nothing else.
                read_execute: vec![PathBuf::from("/")],
                read_write: WRITABLE.iter().map(PathBuf::from).collect(),
                requirement,
            },
            filters: self.policy.stack.clone(),
            disabled: config.disabled.clone(),
        }
    }

    /// The root of an image, where it is not the host's.
    pub(super) fn image_root(
        config: &KeeperConfig,
        image: ImageDigest,
    ) -> Result<Option<OwnedFd>, SetupFailure> {
        if image == ImageDigest::HOST {
            return Ok(None);
        }
        let root = open_root(&config.images, image);
        root.map(Some).map_err(no_image)
    }

    /// The plan as it is sent.
    pub(super) fn packed_plan(
        &mut self,
        config: &KeeperConfig,
        kind: CellKind,
    ) -> Result<PackedPlan<'_>, SetupFailure> {
        let malformed = |errno: Errno| SetupFailure {
            stage: Stage::Plan,
            item: 0,
            errno: errno as i32,
        };
        if !self.packed.iter().any(|(packed, _)| *packed == kind) {
            let image = match Host::image_root(config, kind.image)? {
                Some(root) => plan_root(root.as_fd()).map_err(no_image)?,
                None => plan_host_image(&config.host_image),
            };
            let plan = self.plan(config, kind.shape, image);
            let message = PlanMessage::pack(&plan).map_err(|_serialisation| malformed(Errno::EINVAL))?;
            self.packed.truncate(PACKED_MAX - 1);
            self.packed.push_front((kind, message));
        }
        let packed = self.packed.iter().find(|(packed, _)| *packed == kind);
        let (_, message) = packed.ok_or(malformed(Errno::EINVAL))?;
        // One file per cell: readers of one open file would share its position.
        let sealed = message
            .memfd
            .as_deref()
            .map(|bytes| seal_data(c"brig-plan", bytes))
            .transpose();
        let memfd = sealed.map_err(|error| malformed(crate::cgroup::errno_of(&error)))?;
        Ok(PackedPlan {
            head: &message.head,
            memfd,
        })
    }

    /// The namespaces of a cell. Only a control arm leaves one out.
    pub(super) fn namespaces(config: &KeeperConfig) -> i32 {
        let mut namespaces = NAMESPACES;
        if cfg!(feature = "control-arms") {
            if config.disabled.contains(&DisabledLayer::NetworkNamespace) {
                namespaces &= !libc::CLONE_NEWNET;
            }
            if config.disabled.contains(&DisabledLayer::PidNamespace) {
                namespaces &= !libc::CLONE_NEWPID;
            }
        }
        namespaces
    }

    /// What a cell's program is held by.
    pub(super) fn receipt(&self, config: &KeeperConfig, cell: &Cell, prepared: Prepared) -> CellReceipt {
        let (abi, full, reported) = cell.kept.as_ref().map_or((0, false, false), |kept| {
            (kept.landlock_abi, kept.landlock_full, kept.refusals_reported)
        });
        CellReceipt {
            level: cell.level,
            landlock_abi: abi,
            landlock: landlock_state(abi, full),
            refusals_reported: reported,
            init_class_raised: cell.class_raised,
            prepared: prepared == Prepared::Before,
            uid: self
                .outer
                .as_ref()
                .map_or(u32::MAX, |outer| outer.host_uid(cell.slot)),
            ..self.bare_receipt(config, cell.level)
        }
    }

    /// The receipt of a host on which no cell could be made.
    pub(super) fn bare_receipt(&self, config: &KeeperConfig, level: Level) -> CellReceipt {
        let controllers = self.cgroups.as_ref().map_or(0, |host| host.controllers().bits());
        CellReceipt {
            level,
            namespaces: u32::try_from(Host::namespaces(config)).unwrap_or(0),
            uid: u32::MAX,
            uid_kind: self.outer.as_ref().map_or(UidKind::Own, OuterNamespace::kind),
            cgroup: self.cgroups.as_ref().map_or(CgroupKind::None, CgroupHost::kind),
            controllers,
            landlock_abi: 0,
            landlock: LayerState::Missing,
            allowed_calls: self.policy.allowed_calls,
            filter_digest: self.policy.digest,
            refusals_reported: false,
            own_proc: self.proc_mount == ProcMount::Own,
            init_class_raised: false,
            prepared: false,
        }
    }

    /// The kind of cell that a request needs.
    pub(super) fn kind(&self, config: &KeeperConfig, image: ImageDigest, limits: &CellLimits) -> CellKind {
        CellKind {
            image,
            shape: self.shape(config, limits),
        }
    }
}

fn no_image(errno: Errno) -> SetupFailure {
    SetupFailure {
        stage: Stage::Request,
        item: item::UNKNOWN_IMAGE,
        errno: errno as i32,
    }
}

/// Whether a cell was there before the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepared {
    Before,
    OnDemand,
}

fn landlock_state(abi: u8, full: bool) -> LayerState {
    match (abi, full) {
        (0, _) => LayerState::Missing,
        (_, true) => LayerState::Active,
        (_, false) => LayerState::Partial,
    }
}

fn open_cgroups(config: &KeeperConfig) -> (Option<CgroupHost>, Option<SetupFailure>) {
    let failed = |item, errno: Errno| SetupFailure {
        stage: Stage::Cgroup,
        item,
        errno: errno as i32,
    };
    if config.cgroups == CgroupUse::Never {
        return (None, Some(failed(item::CGROUP_CONFIGURED_OFF, Errno::EPERM)));
    }
    match CgroupHost::open(&config.instance, config.cgroup_base.as_deref()) {
        Ok(mut host) => {
            if cfg!(feature = "control-arms") && config.disabled.contains(&DisabledLayer::CgroupLimits) {
                host.leave_out_limits();
            }
            let needed = Controllers::MEMORY | Controllers::CPU | Controllers::PIDS;
            let whole = host.controllers().has(needed);
            // A group without all limits is still used for what it has; strict is refused.
            let missing = (!whole).then(|| failed(item::CGROUP_CONTROLLER_MISSING, Errno::ENOENT));
            (Some(host), missing)
        }
        Err(errno @ CONTROLLER_MISSING) => (None, Some(failed(item::CGROUP_CONTROLLER_MISSING, errno))),
        Err(errno) => (None, Some(failed(item::CGROUP_NOT_DELEGATED, errno))),
    }
}
