//! What isolates a container, in the words that users see.

use super::cell::Layers;
use super::protocol::ContainerReceipt;
use super::protocol::How;
use brig_core::receipt::{Layer, LayerState, Receipt};
use brig_core::spec::IsolationLevel;
use brig_jail::container::wire::{Posture, SECCOMP_FILTER};

/// The receipt of a cell.
pub(super) fn describe(layers: &Layers, level: IsolationLevel, image: &str) -> Receipt {
    let Layers {
        how,
        receipt,
        posture,
    } = layers;
    let cell = match how {
        How::Warm => "warm",
        How::Cold => "on_demand",
    };
    let mut told = outside(receipt, level, image, cell);
    for layer in told.layers.iter_mut().filter(|layer| layer.name == "seccomp") {
        *layer = seccomp(receipt, posture.seccomp_mode == SECCOMP_FILTER);
    }
    told.layers.push(inside(posture));
    told
}

/// What the engine says alone.
pub(super) fn outside(receipt: &ContainerReceipt, level: IsolationLevel, image: &str, cell: &str) -> Receipt {
    Receipt {
        backend: receipt.backend.to_string(),
        level: level.word().to_owned(),
        image: format!("{image}@sha256:{}", receipt.image),
        cell: cell.to_owned(),
        layers: vec![
            engine(receipt),
            layer("namespaces", LayerState::Active, receipt.namespaces.join(", ")),
            root(receipt),
            identity(receipt),
            layer(
                "landlock",
                LayerState::Missing,
                "none in containers: mounts and the user bound what a program reaches".to_owned(),
            ),
            // What a kernel of its own makes of the profile is known only inside.
            seccomp(receipt, !receipt.own_kernel),
            apparmor(receipt),
            cgroup(receipt),
            layer(
                "rlimits",
                LayerState::Active,
                "file size, open files, CPU time, no core dumps".to_owned(),
            ),
        ],
    }
}

/// Whether the filter that was asked for is in force, as the first process saw it before anything untrusted ran.
pub(super) fn filter_is_in_force(receipt: &ContainerReceipt, posture: &Posture) -> bool {
    // Where a kernel of its own answers the program's calls, that one is the wall, and the receipt says so.
    posture.seccomp_mode == SECCOMP_FILTER || receipt.own_kernel
}

fn layer(name: &str, state: LayerState, detail: String) -> Layer {
    Layer {
        name: name.to_owned(),
        state,
        detail,
    }
}

fn active(whole: bool) -> LayerState {
    if whole {
        LayerState::Active
    } else {
        LayerState::Partial
    }
}

fn engine(receipt: &ContainerReceipt) -> Layer {
    let engine = &receipt.engine;
    let kernel = if receipt.own_kernel {
        ", a kernel of its own"
    } else {
        ""
    };
    let detail = format!(
        "{} {} (API {}), runtime {}{kernel}",
        engine.name, engine.version, engine.api, engine.runtime
    );
    layer("engine", LayerState::Active, detail)
}

fn root(receipt: &ContainerReceipt) -> Layer {
    let detail = "read-only image; private /workspace, /tmp, /dev/shm; no mounts of the host";
    layer("root", active(receipt.read_only_root), detail.to_owned())
}

fn identity(receipt: &ContainerReceipt) -> Layer {
    let ContainerReceipt {
        user,
        no_capabilities,
        no_new_privileges,
        ..
    } = receipt;
    let words = [
        (*no_capabilities, "no capabilities"),
        (*no_new_privileges, "no_new_privs"),
    ];
    let held = words.iter().filter(|(held, _)| *held).map(|(_, word)| *word);
    let detail = std::iter::once(format!("user {user}")).chain(held.map(str::to_owned));
    layer(
        "identity",
        active(*no_capabilities && *no_new_privileges),
        detail.collect::<Vec<_>>().join(", "),
    )
}

fn seccomp(receipt: &ContainerReceipt, in_force: bool) -> Layer {
    if !in_force {
        let detail =
            "the runtime's own kernel answers the calls and does not apply the profile; refusals: unreported";
        return layer("seccomp", LayerState::Partial, detail.to_owned());
    }
    let seccomp = &receipt.seccomp;
    let detail = format!(
        "{} calls allowed, profile {}, refusals: unreported",
        seccomp.allowed_calls, seccomp.digest
    );
    layer("seccomp", LayerState::Active, detail)
}

fn apparmor(receipt: &ContainerReceipt) -> Layer {
    match &receipt.apparmor {
        Some(profile) => layer("apparmor", LayerState::Active, profile.clone()),
        None => layer(
            "apparmor",
            LayerState::Partial,
            "not available on this host".to_owned(),
        ),
    }
}

fn cgroup(receipt: &ContainerReceipt) -> Layer {
    let cgroup = &receipt.cgroup;
    let mut detail = format!(
        "version {}, driver {}: memory, cpu, pids",
        cgroup.version.trim_start_matches('v'),
        receipt.engine.cgroup_driver
    );
    if cgroup.swap_off {
        detail.push_str(", swap off");
    }
    if cgroup.memory_overhead_bytes > 0 || cgroup.processes_overhead > 1 {
        let mebibytes = cgroup.memory_overhead_bytes >> 20;
        detail.push_str(&format!(
            "; {mebibytes} MiB and {} processes more for the runtime itself",
            cgroup.processes_overhead
        ));
    }
    layer("cgroup", LayerState::Active, detail)
}

/// What the first process found around itself.
fn inside(posture: &Posture) -> Layer {
    let detail = match (posture.init_closed, posture.program_first_out) {
        (true, true) => "closed to the program; the program is the first to go when memory runs out",
        (true, false) => "closed to the program; memory that runs out can end the whole container",
        (false, true) => "the runtime does not close it to the program, which has the same user",
        (false, false) => {
            "the runtime does not close it to the program, which has the same user; memory that runs out can end the \
             whole container"
        }
    };
    layer("init", active(posture.init_closed), detail.to_owned())
}
