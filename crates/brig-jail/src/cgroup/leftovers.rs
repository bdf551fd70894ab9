//! Groups of keepers that died. Their cells died with them (every PID 1 sees its socket end); what is left is
//! normally empty directories.

use super::{files, v2};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};

/// How often a group whose processes were killed is tried again before it is left to the next start.
const REMOVE_ATTEMPTS: usize = 1_000;

/// Removes the groups of dead keepers below `parent`: those of this instance with everything in them, those of
/// others only when they are empty. A keeper of this instance that is alive keeps its groups: this one is a second
/// one by mistake, and its daemon will find the data directory locked.
pub(crate) fn remove(parent: &Path, instance: &str, current: &str) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some((owner, pid)) = name.strip_prefix("brig-").and_then(|rest| rest.rsplit_once('-')) else {
            continue;
        };
        if name == current {
            continue;
        }
        // Another tool's group may be named like ours.
        let Ok(pid) = pid.parse::<u32>() else { continue };
        if owner == instance && !is_keeper(pid) {
            remove_tree(&entry.path(), Survivors::Kill);
        } else if owner != instance && !Path::new(&format!("/proc/{pid}")).exists() {
            remove_tree(&entry.path(), Survivors::Spare);
        }
    }
}

/// Whether `pid` is alive and runs the program that this process runs. By name and not by file: an upgrade replaces
/// the file under a running service.
fn is_keeper(pid: u32) -> bool {
    let name = |process: &str| std::fs::read(format!("/proc/{process}/comm")).ok();
    name(&pid.to_string()).is_some_and(|found| Some(found) == name("self"))
}

/// What happens to processes that are found in a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Survivors {
    Kill,
    Spare,
}

fn remove_tree(base: &Path, survivors: Survivors) {
    let children: Vec<PathBuf> = std::fs::read_dir(base)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.is_dir())
                .collect()
        })
        .unwrap_or_default();
    for child in children {
        remove_group(&child, survivors);
    }
    remove_group(base, survivors);
}

/// What cannot be removed stays: the next start tries again, and a group costs nothing but a directory.
fn remove_group(group: &Path, survivors: Survivors) {
    for _attempt in 0..REMOVE_ATTEMPTS {
        if files::remove(group) != Err(Errno::EBUSY) || survivors == Survivors::Spare {
            return;
        }
        kill_all(group);
        std::thread::yield_now();
    }
}

fn kill_all(group: &Path) {
    if v2::kill(group).is_ok() {
        return;
    }
    for process in v2::processes(group).unwrap_or_default() {
        // ESRCH: it has just died by itself, which is what is wanted.
        kill(Pid::from_raw(process), Signal::SIGKILL).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain directories behave like empty groups.
    fn leftover(parent: &Path, name: &str) -> PathBuf {
        let base = parent.join(name);
        std::fs::create_dir_all(base.join("cell-7")).unwrap();
        std::fs::create_dir_all(base.join("init")).unwrap();
        base
    }

    #[test]
    fn groups_of_this_instance_go_and_those_of_live_keepers_stay() {
        let parent = tempfile::tempdir().unwrap();
        let ours = leftover(parent.path(), "brig-abc-4000001");
        let dead = leftover(parent.path(), "brig-other-4000002");
        let alive = leftover(parent.path(), &format!("brig-other-{}", std::process::id()));
        let twin = leftover(parent.path(), &format!("brig-abc-{}", std::process::id()));
        let current = leftover(parent.path(), "brig-abc-4000003");
        let foreign = leftover(parent.path(), "system.slice");
        remove(parent.path(), "abc", "brig-abc-4000003");
        assert_eq!(
            [ours, dead, alive, twin, current, foreign].map(|group| group.exists()),
            [false, false, true, true, true, true]
        );
    }
}
