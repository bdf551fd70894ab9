//! From the operator's configuration to the keeper's: what the daemon itself never decides.

use crate::jail_init::JAIL_INIT;
use brig_backend::images::{self, ImageCatalog};
use brig_core::limits::{Limits, LimitsPolicy};
use brig_core::spec::{BackendName, ImageName, IsolationLevel, JobDraft};
use brig_daemon::Config;
use brig_jail::keeper::{HostImage, IdRange, KeeperConfig, OptionalLayer};
use brig_jail::protocol::{CellLimits, ImageDigest, Level};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which cell a keeper builds before it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prewarm {
    /// One on this image, with these limits.
    One(ImageDigest, IsolationLevel, Limits),
    /// None.
    Nothing,
}

impl Prewarm {
    /// For a daemon: what most callers will want.
    pub(crate) fn defaults(config: &Config) -> Self {
        Self::One(ImageDigest::HOST, config.isolation, config.limits.default)
    }

    /// For an engine that has one job to run. A job that will be refused needs no cell.
    pub(crate) fn for_draft(config: &Config, draft: Option<&JobDraft>) -> Self {
        let Some(draft) = draft else { return Self::Nothing };
        let in_jail = draft
            .backend
            .as_ref()
            .is_none_or(|name| *name == BackendName::jail());
        let Some((image, policy)) = image_of(config, draft).filter(|_| in_jail) else {
            return Self::Nothing;
        };
        let level = draft.isolation.unwrap_or(config.isolation);
        draft
            .limits
            .resolve(&policy)
            .map_or(Self::Nothing, |limits| Self::One(image, level, limits))
    }
}

/// The root of the draft's image and the limits of jobs on it; `None`: there is no such image.
fn image_of(config: &Config, draft: &JobDraft) -> Option<(ImageDigest, LimitsPolicy)> {
    match &draft.image {
        Some(name) if *name != ImageName::host() => {
            let found = ImageCatalog::new(images_dirs(config)).resolve(name).ok()?;
            let policy = config.limits.on_image(&found.meta.limits.request());
            Some((found.meta.digest.for_keeper(), policy))
        }
        Some(_) | None => Some((ImageDigest::HOST, config.limits)),
    }
}

/// The keeper's configuration for this installation.
pub(crate) fn of(config: &Config, prewarm: Prewarm) -> KeeperConfig {
    let mut keeper = KeeperConfig::new(JAIL_INIT, instance(&config.data));
    keeper.optional = config
        .optional_layers
        .iter()
        .filter_map(|layer| optional(layer))
        .collect();
    keeper.root_range = IdRange {
        first: config.root_ids.first,
        count: config.root_ids.count,
    };
    keeper.spares = config.spares;
    keeper.ceilings = ceilings(config);
    keeper.host_image = HostImage {
        python: config.host_image.python.clone(),
        read_only: config.host_image.read_only.clone(),
    };
    keeper.images = images_dirs(config);
    keeper.wall_ceiling_nanos = nanos(config.limits.ceiling.wall);
    keeper.lease_ceiling_nanos = nanos(config.lease);
    keeper.minimum_level = level(config.isolation);
    keeper.max_cells = config.max_concurrent + config.spares + 8;
    keeper.prewarm = match prewarm {
        Prewarm::One(image, isolation, limits) => Some((image, level(isolation), cell_limits(&limits))),
        Prewarm::Nothing => None,
    };
    control_arms(&mut keeper);
    keeper
}

/// Where images are.
pub(crate) fn images_dirs(config: &Config) -> Vec<PathBuf> {
    if config.images_dirs.is_empty() {
        images::default_directories()
    } else {
        config.images_dirs.clone()
    }
}

/// The most that a cell of any kind gets.
pub(crate) fn ceilings(config: &Config) -> CellLimits {
    cell_limits(&config.limits.ceiling).clamped_to(&CellLimits::CEILINGS)
}

fn level(isolation: IsolationLevel) -> Level {
    match isolation {
        IsolationLevel::Strict => Level::Strict,
        IsolationLevel::Workstation => Level::Workstation,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A name for this data directory that is the same after a restart: leftovers are found by it.
pub(crate) fn instance(data: &Path) -> String {
    let full = data
        .canonicalize()
        .unwrap_or_else(|_not_there_yet| data.to_owned());
    // FNV-1a: stable over versions of the compiler, unlike the standard library's hasher.
    let hash = full
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    format!("{hash:016x}")
}

/// The configuration has checked the names.
fn optional(layer: &str) -> Option<OptionalLayer> {
    match layer {
        "cgroup" => Some(OptionalLayer::Cgroup),
        "uid" => Some(OptionalLayer::Uid),
        "landlock" => Some(OptionalLayer::Landlock),
        _ => None,
    }
}

fn cell_limits(limits: &Limits) -> CellLimits {
    CellLimits {
        memory_bytes: limits.memory.0,
        processes: limits.processes,
        cpu_millis: limits.cpu_millis,
        workspace_bytes: limits.workspace.0,
        workspace_files: limits.workspace_files,
        tmp_bytes: limits.tmp.0,
        tmp_files: limits.tmp_files,
        shm_bytes: limits.shm.0,
        file_size_bytes: limits.file_size.0,
        open_files: limits.open_files,
        cpu_time_nanos: nanos(limits.cpu_time),
    }
}

/// Turns layers off for a control arm, or takes single rules off the list of system calls (`without-rule:getpid`,
/// `without-rule:ioctl/TCGETS`; the keeper knows their names). Not there in the shipped program, which does not even look.
#[cfg(feature = "control-arms")]
fn control_arms(keeper: &mut KeeperConfig) {
    let words = std::env::var("BRIG_CONTROL_ARM").unwrap_or_default();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        if let Some(name) = word.strip_prefix("without-capability:") {
            keeper.without_capabilities.extend(capability(name));
            continue;
        }
        if let Some(rule) = word.strip_prefix("without-rule:") {
            keeper.without_rules.push(rule.to_owned());
            continue;
        }
        match disabled(word) {
            Some(layer) => keeper.disabled.push(layer),
            None => crate::terminal::say(format!("BRIG_CONTROL_ARM: there is no layer {word}")),
        }
    }
}

/// One of those that a keeper needs, by its name.
#[cfg(feature = "control-arms")]
fn capability(name: &str) -> Option<u8> {
    use brig_jail::keeper::power::{KEPT, KEPT_FOR_GROUPS, OPENING};
    let mut needed = KEPT.iter().chain(OPENING).chain([&KEPT_FOR_GROUPS]);
    needed.find(|one| one.name == name).map(|one| one.number)
}

#[cfg(feature = "control-arms")]
fn disabled(word: &str) -> Option<brig_jail::plan::DisabledLayer> {
    use brig_jail::plan::DisabledLayer;
    Some(match word {
        "seccomp" => DisabledLayer::Seccomp,
        "landlock" => DisabledLayer::Landlock,
        "network" => DisabledLayer::NetworkNamespace,
        "read_only_root" => DisabledLayer::ReadOnlyRoot,
        "capabilities" => DisabledLayer::Capabilities,
        "rlimits" => DisabledLayer::Rlimits,
        "tmpfs_limits" => DisabledLayer::TmpfsLimits,
        "pid" => DisabledLayer::PidNamespace,
        "proc_masks" => DisabledLayer::ProcMasks,
        "cgroup_limits" => DisabledLayer::CgroupLimits,
        _ => return None,
    })
}

#[cfg(not(feature = "control-arms"))]
fn control_arms(_keeper: &mut KeeperConfig) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_words_reach_the_keeper() {
        let mut config = Config {
            data: "/no/such/dir".into(),
            max_concurrent: 9,
            ..Config::default()
        };
        config.optional_layers = vec!["cgroup".into(), "landlock".into()];
        config.host_image.python = "/opt/python3".into();
        let keeper = of(&config, Prewarm::defaults(&config));
        assert_eq!(keeper.optional, [OptionalLayer::Cgroup, OptionalLayer::Landlock]);
        assert_eq!(keeper.host_image.python, Path::new("/opt/python3"));
        assert!(keeper.max_cells > 9);
        assert_eq!(
            keeper.prewarm,
            Some((ImageDigest::HOST, Level::Strict, CellLimits::DEFAULT))
        );
        assert_eq!(keeper.disabled, []);
    }

    #[test]
    fn one_directory_has_one_name_and_another_has_another() {
        assert_eq!(instance(Path::new("/no/a")), instance(Path::new("/no/a")));
        assert_ne!(instance(Path::new("/no/a")), instance(Path::new("/no/b")));
    }
}
