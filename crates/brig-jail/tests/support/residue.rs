//! What cells could leave behind, seen from outside.

use super::{Keeper, PATIENCE, stretched};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What grows when something is not freed.
#[derive(Debug, PartialEq, Eq)]
pub struct Residue {
    descriptors: usize,
    children: usize,
    groups: usize,
    mounts: usize,
}

impl Residue {
    /// Of a keeper without a cell; waits until the last one is forgotten.
    pub fn idle(keeper: &Keeper) -> Residue {
        until("every cell is forgotten", || {
            let now = Residue::of(keeper);
            now.children == 0 && now.groups == 0
        });
        Residue::of(keeper)
    }

    pub fn of(keeper: &Keeper) -> Residue {
        let proc = PathBuf::from(format!("/proc/{}", keeper.child.id()));
        let mounts = std::fs::read_to_string(proc.join("mountinfo")).unwrap();
        Residue {
            descriptors: std::fs::read_dir(proc.join("fd")).unwrap().count(),
            children: children(keeper.child.id()).len(),
            groups: groups_named(&format!("-{}", keeper.child.id()))
                .iter()
                .map(|base| entries(base))
                .sum(),
            mounts: mounts.lines().count(),
        }
    }
}

fn entries(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, |entries| {
        entries.flatten().filter(|entry| entry.path().is_dir()).count()
    })
}

/// The children of a process, zombies included.
pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Control groups of keepers whose name contains this.
pub fn groups_named(part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    find_groups(Path::new("/sys/fs/cgroup"), part, 5, &mut found);
    found
}

fn find_groups(directory: &Path, part: &str, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("brig-") && name.contains(part) {
            found.push(entry.path());
        } else if depth > 0 {
            find_groups(&entry.path(), part, depth - 1, found);
        }
    }
}

/// Processes whose real uid is this one of the host.
pub fn processes_of(uid: u32) -> usize {
    let wanted = format!("Uid:\t{uid}\t");
    let statuses = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("status"));
    statuses
        .filter(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(&wanted)))
        .count()
}

/// Until no process of this uid is left.
pub fn await_no_process_of(uid: u32) {
    until("the cell's processes are gone", || processes_of(uid) == 0);
}

/// Waits for something that no descriptor tells.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let patience = stretched(PATIENCE);
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::yield_now();
    }
}

/// Until no more is left than `before`; `meanwhile` is done again and again.
pub fn until_as_before(keeper: &Keeper, before: &Residue, mut meanwhile: impl FnMut()) {
    let deadline = Instant::now() + stretched(PATIENCE);
    loop {
        meanwhile();
        let now = Residue::of(keeper);
        if now == *before {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind: {now:?} instead of {before:?}"
        );
        std::thread::yield_now();
    }
}

/// Whether a process has installed a filter of its own, beside the one that it has from the keeper, and sleeps: PID 1 of
/// a complete cell.
pub fn is_settled(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let filters = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp_filters:")?.trim().parse().ok());
    filters.unwrap_or(0) > 1 && status.contains("State:\tS")
}
