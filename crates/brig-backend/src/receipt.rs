//! The keeper's receipt in the words that users see.

use brig_core::backend::BackendError;
use brig_core::receipt::{Layer, LayerState, Receipt};
use brig_core::spec::IsolationLevel;
use brig_jail::protocol::{self, CellReceipt, CgroupKind, Level, UidKind};
use brig_jail::remedy::{self, HostSigns, item};
use brig_jail::stage::{SetupFailure, Stage};

/// CLONE_NEW* flags and their names, in the order in which they are told.
const NAMESPACES: [(u32, &str); 7] = [
    (0x1000_0000, "user"),
    (0x2000_0000, "pid"),
    (0x0002_0000, "mount"),
    (0x4000_0000, "network"),
    (0x0800_0000, "ipc"),
    (0x0400_0000, "uts"),
    (0x0200_0000, "cgroup"),
];

/// Bits of `CellReceipt::controllers`.
const CONTROLLERS: [(u8, &str); 6] = [
    (1, "memory"),
    (2, "cpu"),
    (4, "pids"),
    (8, "io"),
    (16, "swap off"),
    (32, "kill file"),
];

/// Rights that a cell's Landlock domain takes away wherever the kernel knows them, and since which ABI that is. All older
/// ones are required. Those on TCP (ABI 4) are not among them: no cell has a route, and programs need the loopback.
const LANDLOCK_SINCE: [(u8, &str); 4] = [
    (3, "truncate"),
    (5, "device ioctl"),
    (6, "abstract-socket scope"),
    (6, "signal scope"),
];

/// The receipt for users.
#[must_use]
pub fn describe(receipt: &CellReceipt, image: &str) -> Receipt {
    Receipt {
        backend: "jail".to_owned(),
        level: level(receipt.level).word().to_owned(),
        image: image.to_owned(),
        cell: if receipt.prepared { "prepared" } else { "on_demand" }.to_owned(),
        layers: vec![
            namespaces(receipt),
            layer(
                "root",
                LayerState::Active,
                "read-only image; private /workspace, /tmp, /dev/shm".to_owned(),
            ),
            layer(
                "identity",
                LayerState::Active,
                "user 10001, no groups, no capabilities, no_new_privs, securebits locked".to_owned(),
            ),
            uid(receipt),
            landlock(receipt),
            seccomp(receipt),
            cgroup(receipt),
            layer(
                "rlimits",
                LayerState::Active,
                "file size, open files, processes, no core dumps".to_owned(),
            ),
            proc_layer(receipt),
            scheduling(receipt),
        ],
    }
}

/// A failure of the keeper as the port's error, with the remedy for this host.
#[must_use]
pub fn setup_error(failure: &SetupFailure, signs: &HostSigns) -> BackendError {
    let (item, remedy) = match remedy::for_failure(failure, signs) {
        Some(remedy) => (remedy.problem.to_owned(), remedy.fix.to_owned()),
        None => (format!("item {}", failure.item), "see `brig doctor`".to_owned()),
    };
    BackendError::Setup {
        stage: failure.stage.word().to_owned(),
        item,
        errno: failure.errno,
        remedy,
    }
}

/// Whether the keeper could not have the root of the image.
#[must_use]
pub fn is_of_image(failure: &SetupFailure) -> bool {
    failure.stage == Stage::Request && failure.item == item::UNKNOWN_IMAGE
}

/// Such a failure, with the image's name.
#[must_use]
pub fn image_error(failure: &SetupFailure, signs: &HostSigns, image: &str) -> BackendError {
    let remedy = remedy::for_failure(failure, signs);
    let (problem, fix) = remedy.map_or(("the root cannot be had", "see `brig doctor`"), |remedy| {
        (remedy.problem, remedy.fix)
    });
    BackendError::Setup {
        stage: "image".to_owned(),
        item: format!("{image}: {problem}"),
        errno: failure.errno,
        remedy: fix.to_owned(),
    }
}

/// The level in the words of the core.
#[must_use]
pub fn level(level: Level) -> IsolationLevel {
    match level {
        Level::Strict => IsolationLevel::Strict,
        Level::Workstation => IsolationLevel::Workstation,
    }
}

fn layer(name: &str, state: LayerState, detail: String) -> Layer {
    Layer {
        name: name.to_owned(),
        state,
        detail,
    }
}

fn namespaces(receipt: &CellReceipt) -> Layer {
    let (present, absent): (Vec<_>, Vec<_>) = NAMESPACES
        .into_iter()
        .partition(|(flag, _)| receipt.namespaces & flag != 0);
    let names = |list: Vec<(u32, &str)>| {
        list.into_iter()
            .map(|(_, name)| name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if absent.is_empty() {
        return layer("namespaces", LayerState::Active, names(present));
    }
    let detail = format!("{}; missing: {}", names(present), names(absent));
    layer("namespaces", LayerState::Partial, detail)
}

fn uid(receipt: &CellReceipt) -> Layer {
    let uid = receipt.uid;
    match receipt.uid_kind {
        UidKind::Own => layer(
            "uid",
            LayerState::Missing,
            format!("the invoking user's own uid {uid} outside the cell"),
        ),
        UidKind::RootRange => layer(
            "uid",
            LayerState::Active,
            format!("uid {uid} outside the cell, of the range configured for root"),
        ),
        UidKind::Subordinate => layer(
            "uid",
            LayerState::Active,
            format!("uid {uid} outside the cell, of the user's subordinate range"),
        ),
    }
}

fn landlock(receipt: &CellReceipt) -> Layer {
    let state = match receipt.landlock {
        protocol::LayerState::Active => LayerState::Active,
        protocol::LayerState::Partial => LayerState::Partial,
        protocol::LayerState::Missing => LayerState::Missing,
    };
    let detail = match state {
        LayerState::Missing => "not available in this kernel".to_owned(),
        LayerState::Active | LayerState::Partial => landlock_detail(receipt.landlock_abi),
    };
    layer("landlock", state, detail)
}

/// What an older kernel cannot enforce is named, never left out silently.
fn landlock_detail(abi: u8) -> String {
    let unknown: Vec<&str> = LANDLOCK_SINCE
        .iter()
        .filter(|(since, _)| abi < *since)
        .map(|(_, right)| *right)
        .collect();
    if unknown.is_empty() {
        format!("ABI {abi}")
    } else {
        format!("ABI {abi}; not available in this kernel: {}", unknown.join(", "))
    }
}

fn seccomp(receipt: &CellReceipt) -> Layer {
    let digest: String = receipt
        .filter_digest
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let refusals = if receipt.refusals_reported {
        "reported"
    } else {
        "unreported"
    };
    let calls = receipt.allowed_calls;
    let detail = format!("{calls} calls allowed, filter {digest}, refusals: {refusals}");
    layer("seccomp", LayerState::Active, detail)
}

fn cgroup(receipt: &CellReceipt) -> Layer {
    let version = match receipt.cgroup {
        CgroupKind::None => return layer("cgroup", LayerState::Missing, "rlimits only".to_owned()),
        CgroupKind::V1 => "version 1",
        CgroupKind::V2 => "version 2",
        CgroupKind::Hybrid => "hybrid (limits in version 1, kill in version 2)",
    };
    let held = CONTROLLERS
        .into_iter()
        .filter(|(bit, _)| receipt.controllers & bit != 0);
    let names: Vec<_> = held.map(|(_, name)| name).collect();
    let whole = receipt.controllers & 7 == 7;
    let state = if whole {
        LayerState::Active
    } else {
        LayerState::Partial
    };
    layer("cgroup", state, format!("{version}: {}", names.join(", ")))
}

fn proc_layer(receipt: &CellReceipt) -> Layer {
    if receipt.own_proc {
        layer("proc", LayerState::Active, "the cell's own, masked".to_owned())
    } else {
        layer(
            "proc",
            LayerState::Partial,
            "synthetic: the outer /proc is masked here".to_owned(),
        )
    }
}

fn scheduling(receipt: &CellReceipt) -> Layer {
    if receipt.init_class_raised {
        layer(
            "scheduling",
            LayerState::Active,
            "PID 1 runs in a raised class".to_owned(),
        )
    } else {
        layer(
            "scheduling",
            LayerState::Missing,
            "PID 1 runs in the default class; the keeper kills from outside".to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::landlock_detail;

    #[test]
    fn rights_that_an_older_landlock_does_not_know_are_named() {
        assert_eq!(
            landlock_detail(2),
            "ABI 2; not available in this kernel: truncate, device ioctl, abstract-socket scope, signal scope"
        );
        assert_eq!(
            landlock_detail(5),
            "ABI 5; not available in this kernel: abstract-socket scope, signal scope"
        );
        assert_eq!(landlock_detail(7), "ABI 7");
    }
}
