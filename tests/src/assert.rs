//! What must not be left behind: processes, control groups, mounts and temporary files, seen from the host.

use crate::modes::Mode;
use crate::process::wait_until;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Clean-up may take this long after the result: network and pid namespaces are freed a little later.
pub const CLEAN_WITHIN: Duration = Duration::from_secs(2);

/// Host-side ids that cells have: the range for root, the subordinate range that `tests/run` gives out.
const CELL_IDS: [std::ops::Range<u32>; 2] = [0x3000_0000..0x3001_0000, 0x4000_0000..0x4001_0000];

/// What there is of Brig on the host at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    processes: BTreeMap<u32, String>,
    groups: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
}

impl Surroundings {
    /// Looks now. `brig` is the staged program: its processes are known by their file.
    #[must_use]
    pub fn look(brig: &Path, mode: Mode) -> Self {
        Self {
            processes: processes(brig, mode),
            groups: groups(),
            mounts: mounts(),
        }
    }

    /// The most that there is at one time during `span`: what a daemon keeps while it is idle.
    #[must_use]
    pub fn at_most(brig: &Path, mode: Mode, span: Duration) -> Self {
        let mut most = Self::look(brig, mode);
        wait_until(span, || {
            let now = Self::look(brig, mode);
            if now.count() > most.count() {
                most = now;
            }
            false
        });
        most
    }

    /// What is there now and was not then.
    fn new_since(&self, before: &Self) -> Vec<String> {
        let processes = self
            .processes
            .iter()
            .filter(|(pid, _)| !before.processes.contains_key(pid));
        let groups = self.groups.difference(&before.groups);
        let mounts = self.mounts.difference(&before.mounts);
        processes
            .map(|(pid, what)| format!("process {pid} {what}"))
            .chain(groups.map(|path| format!("group {}", path.display())))
            .chain(mounts.map(|line| format!("mount {line}")))
            .collect()
    }

    /// How much there is: a daemon replaces its spare cells, so only their number can be compared.
    fn count(&self) -> (usize, usize, usize) {
        (self.processes.len(), self.groups.len(), self.mounts.len())
    }
}

/// Asserts that nothing that was not there `before` stays: for runs that bring an engine of their own.
///
/// # Errors
/// What is left.
pub fn nothing_is_left(brig: &Path, mode: Mode, before: &Surroundings) -> Result<()> {
    let mut stayed: Option<BTreeSet<String>> = None;
    // Somebody else's cells come and go: only what stays all the while was left behind.
    let clean = wait_until(CLEAN_WITHIN, || {
        let new: BTreeSet<String> = Surroundings::look(brig, mode)
            .new_since(before)
            .into_iter()
            .collect();
        stayed = Some(match stayed.take() {
            None => new,
            Some(so_far) => so_far.intersection(&new).cloned().collect(),
        });
        stayed.as_ref().is_some_and(BTreeSet::is_empty)
    });
    ensure!(
        clean,
        "left behind after {CLEAN_WITHIN:?}: {:?}",
        stayed.unwrap_or_default()
    );
    Ok(())
}

/// Asserts that there is no more than `before`: for runs on a daemon that stays.
///
/// # Errors
/// What is new.
pub fn no_more_than(brig: &Path, mode: Mode, before: &Surroundings) -> Result<()> {
    let mut last = before.clone();
    let calm = wait_until(CLEAN_WITHIN, || {
        last = Surroundings::look(brig, mode);
        let (now, then) = (last.count(), before.count());
        now.0 <= then.0 && now.1 <= then.1 && now.2 <= then.2
    });
    ensure!(
        calm,
        "more than before after {CLEAN_WITHIN:?}: {:?}, then {:?}: {:?}",
        last.count(),
        before.count(),
        last.new_since(before)
    );
    Ok(())
}

/// Processes of Brig's file, of the ids of cells, or of the user of the mode.
fn processes(brig: &Path, mode: Mode) -> BTreeMap<u32, String> {
    let user = mode.user().map(|user| user.uid.as_raw());
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let uid = field(&status, "Uid:").and_then(|uids| uids.split_whitespace().next()?.parse::<u32>().ok());
        let cell =
            uid.is_some_and(|uid| CELL_IDS.iter().any(|range| range.contains(&uid)) || user == Some(uid));
        let own_file = std::fs::read_link(entry.path().join("exe")).is_ok_and(|file| file == brig);
        if cell || own_file {
            let name = field(&status, "Name:").unwrap_or_default().trim().to_owned();
            let state = field(&status, "State:").unwrap_or_default().trim().to_owned();
            found.insert(pid, format!("{name} uid {uid:?} {state}"));
        }
    }
    found
}

/// The value of one line of a `status` file.
#[must_use]
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

/// Control groups of Brig in every tree.
fn groups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.starts_with("brig-") && !name.starts_with("brig-tests-");
            let cell = name.starts_with("cell-");
            if ours || cell {
                found.insert(entry.path());
            }
            open.push(entry.path());
        }
    }
    found
}

fn mounts() -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().map(str::to_owned).collect()
}

/// Ids of processes of the host whose arguments contain `marker`.
#[must_use]
pub fn processes_with(marker: &str) -> Vec<u32> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&arguments).replace('\0', " ");
        // The client that started the job has the marker in its own arguments.
        let client = text.contains(" run ") || text.contains("setpriv") || text.starts_with("sh -c");
        if pid != own && !client && text.contains(marker) {
            found.push(pid);
        }
    }
    found
}
