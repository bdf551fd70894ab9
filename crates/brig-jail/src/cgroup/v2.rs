//! Version 2: one tree; a controller works in a group only where every group above hands it down, and a group
//! that hands controllers down may hold no process itself.

use super::files::{errno_of, keyed_number, make, number, remove, write};
use super::{CONTROLLER_MISSING, Controllers, Counters};
use crate::protocol::CellLimits;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, Pid, access, geteuid};
use std::path::{Path, PathBuf};

/// Length of a scheduling period, microseconds; the kernel's default.
const PERIOD_MICROS: u64 = 100_000;

/// The group into which the keeper moves itself and what is beside it, so that its old group can hand controllers
/// down.
const KEEPER_LEAF: &str = "keeper";

/// How often a group is looked at again for processes that were forked while it was emptied.
const MOVE_ROUNDS: usize = 100;

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

/// The controllers that cells need.
const NEEDED: [&str; 3] = ["memory", "cpu", "pids"];

/// Hands down what can be handed down. A controller that is not there is left out; the receipt shows it.
///
/// Not from a group that holds processes: the kernel refuses memory there, but takes cpu and pids, and with them
/// makes the group a threaded one, below which no cell can have a group.
pub(crate) fn hand_down(group: &Path) {
    if holds_processes(group) {
        return;
    }
    for name in NEEDED.into_iter().filter(|name| offers(group, name)) {
        // One at a time: one refused name would refuse all. What is really handed down is read back.
        write(group, "cgroup.subtree_control", &format!("+{name}")).ok();
    }
}

fn offers(group: &Path, name: &str) -> bool {
    let offered = std::fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    offered.split_whitespace().any(|offered| offered == name)
}

/// Whether processes stand in the way of handing down. Never in the root of the whole tree, which has no type.
fn holds_processes(group: &Path) -> bool {
    let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    !processes.is_empty() && group.join("cgroup.type").exists()
}

/// Whether cells with limits can have groups below this one.
fn can_hold_cells(group: &Path) -> bool {
    handed_down(group) != Controllers::default() && !holds_processes(group)
}

/// A group whose children can be limited: the own one if we may empty it, else (for root) the top of the tree.
pub(crate) fn parent_of_cells(own: &Path, top: &Path) -> nix::Result<PathBuf> {
    // Another keeper may have moved this process, with a shell or a service around both, into its leaf.
    let above = own.parent().filter(|_| own.ends_with(KEEPER_LEAF) && own != top);
    for group in above.into_iter().chain([own]) {
        hand_down(group);
        if can_hold_cells(group) {
            return Ok(group.to_owned());
        }
    }
    leave_for_leaf(own, top)
        .map(|()| own.to_owned())
        .or_else(|errno| {
            if !geteuid().is_root() {
                return Err(errno);
            }
            hand_down(top);
            if can_hold_cells(top) {
                Ok(top.to_owned())
            } else {
                Err(errno)
            }
        })
}

/// Empties the own group into a leaf below it, and fills it again when that does not help.
fn leave_for_leaf(own: &Path, top: &Path) -> nix::Result<()> {
    may_empty(own, top)?;
    let leaf = own.join(KEEPER_LEAF);
    make(&leaf)?;
    let moved = move_all(own, &leaf);
    hand_down(own);
    if moved.is_ok() && can_hold_cells(own) {
        return Ok(());
    }
    // A leaf that another keeper uses stays: it is not empty.
    move_all(&leaf, own).ok();
    remove(&leaf).ok();
    moved.and(Err(Errno::EBUSY))
}

/// Whether all processes of the own group may be moved: Brig's own always, others (a shell, its other programs)
/// only where the group is this user's or this container's to arrange, and only for the whole set of limits.
fn may_empty(own: &Path, top: &Path) -> nix::Result<()> {
    access(&own.join("cgroup.procs"), AccessFlags::W_OK)?;
    let whole = NEEDED.into_iter().all(|name| offers(own, name));
    let arranged_by_us = !geteuid().is_root() || own == top;
    let program = |process: i32| std::fs::read_link(format!("/proc/{process}/exe")).ok();
    let ours = program(Pid::this().as_raw());
    let only_ours =
        |found: Vec<i32>| ours.is_some() && found.into_iter().all(|process| program(process) == ours);
    if (arranged_by_us && whole) || processes(own).is_ok_and(only_ours) {
        Ok(())
    } else if whole {
        Err(Errno::EBUSY)
    } else {
        Err(CONTROLLER_MISSING)
    }
}

/// Moves processes until none is left, for they may fork meanwhile.
fn move_all(from: &Path, to: &Path) -> nix::Result<()> {
    for _round in 0..MOVE_ROUNDS {
        let found = processes(from)?;
        if found.is_empty() {
            return Ok(());
        }
        for process in found {
            match write(to, "cgroup.procs", &process.to_string()) {
                // It has just died.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
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

/// Lets the processes of a killed group use every CPU, as four cells would: what is left of them is the kernel's own
/// work of taking them apart. No more than that, so that nobody's dying starves the living.
pub(crate) fn hurry(group: &Path, present: Controllers) {
    if present.has(Controllers::CPU) {
        write(group, "cpu.max", "max").ok();
        write(group, "cpu.weight", "400").ok();
    }
}

/// CPU time so far. The kernel counts it in every group, with or without the controller.
pub(crate) fn cpu_nanos(group: &Path) -> Option<u64> {
    keyed_number(group, "cpu.stat", "usage_usec").map(|micros| micros * 1_000)
}

/// Adds what the kernel counted in this group.
pub(crate) fn count(group: &Path, present: Controllers, counters: &mut Counters) {
    if present.has(Controllers::MEMORY) {
        counters.memory_peak = number(group, "memory.peak");
        counters.oom_kills = keyed_number(group, "memory.events", "oom_kill");
    }
    counters.cpu_nanos = counters.cpu_nanos.or_else(|| cpu_nanos(group));
    if present.has(Controllers::CPU) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the files of a group.
    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let group = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(group.path().join(name), content).unwrap();
        }
        group
    }

    fn handed_down_from(processes: &str, kind: Option<&str>) -> Controllers {
        let group = group(&[
            ("cgroup.controllers", "cpu io pids\n"),
            ("cgroup.procs", processes),
            ("cgroup.subtree_control", ""),
        ]);
        if let Some(kind) = kind {
            std::fs::write(group.path().join("cgroup.type"), kind).unwrap();
        }
        hand_down(group.path());
        // A real file appends to what is handed down; here the last name is left, with its sign.
        let text = std::fs::read_to_string(group.path().join("cgroup.subtree_control")).unwrap();
        std::fs::write(
            group.path().join("cgroup.subtree_control"),
            text.replace('+', " "),
        )
        .unwrap();
        handed_down(group.path())
    }

    #[test]
    fn a_group_with_processes_hands_nothing_down_and_so_stays_a_domain() {
        assert_eq!(handed_down_from("17\n", Some("domain\n")), Controllers::default());
        // Also those of another pid namespace, which are listed as 0.
        assert_eq!(handed_down_from("0\n", Some("domain\n")), Controllers::default());
    }

    #[test]
    fn an_empty_group_and_the_root_of_the_tree_hand_down() {
        assert!(handed_down_from("", Some("domain\n")).has(Controllers::PIDS));
        assert!(handed_down_from("17\n", None).has(Controllers::PIDS));
    }
}
