//! Version 2: one tree; a controller works in a group only where every group above hands it down, and a group
//! that hands controllers down may hold no process itself.

use super::files::{errno_of, keyed_number, make, number, remove, write};
use super::{Controllers, Counters};
use crate::protocol::CellLimits;
use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// Length of a scheduling period, microseconds; the kernel's default.
const PERIOD_MICROS: u64 = 100_000;

/// The group into which the keeper moves itself, so that its old group can hand controllers down.
const KEEPER_LEAF: &str = "keeper";

/// The controllers that a group hands down to its children, of those that cells need.
pub(crate) fn handed_down(group: &Path) -> Controllers {
    let names = std::fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
    let mut found = Controllers::default();
    for name in names.split_whitespace() {
        found = match name {
            "memory" => found.with(Controllers::MEMORY),
            "cpu" => found.with(Controllers::CPU),
            "pids" => found.with(Controllers::PIDS),
            _ => found,
        };
    }
    found
}

/// Hands down what can be handed down. A controller that is not there is left out; the receipt shows it.
pub(crate) fn hand_down(group: &Path) {
    let available = std::fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    for name in ["memory", "cpu", "pids"] {
        if available.split_whitespace().any(|offered| offered == name) {
            // One at a time: one refused name would refuse all. What is really handed down is read back.
            write(group, "cgroup.subtree_control", &format!("+{name}")).ok();
        }
    }
}

/// A group whose children can be limited: the own one if we may empty it, else (for root) the top of the tree.
pub(crate) fn parent_of_cells(own: &Path, top: &Path) -> nix::Result<PathBuf> {
    hand_down(own);
    if handed_down(own) != Controllers::default() || own == top {
        return Ok(own.to_owned());
    }
    match leave_for_leaf(own) {
        Ok(()) => Ok(own.to_owned()),
        Err(errno) => {
            hand_down(top);
            if handed_down(top) == Controllers::default() {
                Err(errno)
            } else {
                Ok(top.to_owned())
            }
        }
    }
}

/// Moves this process into a leaf below its own group, and back when that does not help.
fn leave_for_leaf(own: &Path) -> nix::Result<()> {
    let leaf = own.join(KEEPER_LEAF);
    make(&leaf)?;
    if let Err(errno) = write(&leaf, "cgroup.procs", "0") {
        remove(&leaf).ok();
        return Err(errno);
    }
    hand_down(own);
    if handed_down(own) != Controllers::default() {
        return Ok(());
    }
    write(own, "cgroup.procs", "0")?;
    remove(&leaf)?;
    Err(Errno::EBUSY)
}

/// Writes the limits that are handed down to this group.
pub(crate) fn limit(group: &Path, present: Controllers, limits: &CellLimits) -> nix::Result<()> {
    if present.has(Controllers::MEMORY) {
        write(group, "memory.max", &limits.memory_bytes.to_string())?;
        match write(group, "memory.swap.max", "0") {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    if present.has(Controllers::CPU) {
        let quota = (u64::from(limits.cpu_millis) * PERIOD_MICROS / 1_000).max(1_000);
        write(group, "cpu.max", &format!("{quota} {PERIOD_MICROS}"))?;
    }
    if present.has(Controllers::PIDS) {
        write(group, "pids.max", &limits.processes.to_string())?;
    }
    Ok(())
}

/// Whether swap is accounted and so can be limited.
pub(crate) fn swap_is_accounted(group: &Path) -> bool {
    group.join("memory.swap.max").exists()
}

/// Whether the kernel has `cgroup.kill` (5.14).
pub(crate) fn has_kill(group: &Path) -> bool {
    group.join("cgroup.kill").exists()
}

/// Kills every process of the group, at once and without a race against forks.
pub(crate) fn kill(group: &Path) -> nix::Result<()> {
    write(group, "cgroup.kill", "1")
}

/// Adds what the kernel counted in this group.
pub(crate) fn count(group: &Path, present: Controllers, counters: &mut Counters) {
    if present.has(Controllers::MEMORY) {
        counters.memory_peak = number(group, "memory.peak");
        counters.oom_kills = keyed_number(group, "memory.events", "oom_kill");
    }
    if present.has(Controllers::CPU) {
        counters.cpu_nanos = keyed_number(group, "cpu.stat", "usage_usec").map(|micros| micros * 1_000);
        counters.throttled_nanos =
            keyed_number(group, "cpu.stat", "throttled_usec").map(|micros| micros * 1_000);
    }
    if present.has(Controllers::PIDS) {
        counters.forks_refused = keyed_number(group, "pids.events", "max");
        counters.processes_peak = number(group, "pids.peak");
    }
}

/// The pids of a group, as this process sees them. Processes of foreign pid namespaces are listed as 0, which no
/// caller may use as a pid (for kill it would mean "my own process group").
pub(crate) fn processes(group: &Path) -> nix::Result<Vec<i32>> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).map_err(|error| errno_of(&error))?;
    Ok(text
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .collect())
}
