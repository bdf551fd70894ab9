//! What must not be left behind: processes, control groups, mounts and temporary files, seen from the host.

use crate::engine::Engine;
use crate::modes::{Mode, Privilege};
use crate::process::wait_until;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Clean-up may take this long after the result: network and pid namespaces are freed a little later.
pub const CLEAN_WITHIN: Duration = Duration::from_secs(2);

/// Host-side ids that the cells of a mode have: the default range of root, the one that `tests/run` gives out,
/// or the user's own.
fn cell_ids(mode: Mode) -> Range<u32> {
    match mode.privilege {
        Privilege::Root => 0x3000_0000..0x3001_0000,
        Privilege::Subordinate => 0x4000_0000..0x4001_0000,
        Privilege::Bare => 0..0,
    }
}

/// A process of Brig or of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    /// Every cell has an id of its own, or is a container.
    cell: String,
    what: String,
}

/// What there is of Brig on the host at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    processes: BTreeMap<u32, Process>,
    groups: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
    /// Containers of Brig that the engine of the mode knows, running or not, but for those that wait for a job.
    containers: BTreeSet<String>,
}

impl Surroundings {
    /// Looks now. `brig` is the staged program: its processes are known by their file.
    #[must_use]
    pub fn look(brig: &Path, mode: Mode) -> Self {
        let containers = Containers::of(mode);
        Self {
            processes: processes(brig, mode, &containers),
            groups: groups(brig, &containers),
            mounts: mounts(&containers),
            containers: containers.used,
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
        let containers = self.containers.difference(&before.containers);
        processes
            .map(|(pid, process)| format!("process {pid} {}", process.what))
            .chain(containers.map(|id| format!("container {id}")))
            .chain(groups.map(|path| format!("group {}", path.display())))
            .chain(mounts.map(|line| format!("mount {line}")))
            .collect()
    }

    /// How many cells, groups and mounts there are. A daemon replaces its spare cells, and one may have a helper for
    /// its files already, so only these numbers can be compared.
    fn count(&self) -> [usize; 4] {
        let cells: BTreeSet<&str> = self
            .processes
            .values()
            .map(|process| process.cell.as_str())
            .collect();
        [
            cells.len(),
            self.groups.len(),
            self.mounts.len(),
            self.containers.len(),
        ]
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
        now.iter().zip(then).all(|(now, then)| *now <= then)
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
fn processes(brig: &Path, mode: Mode, containers: &Containers) -> BTreeMap<u32, Process> {
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
        if is_of_another_keeper(brig, &groups_of(&entry.path())) || has_another_keeper(brig, pid, mode) {
            continue;
        }
        let container = containers.of_process(&groups_of(&entry.path()));
        if container
            .as_deref()
            .is_some_and(|id| containers.spare.contains_key(id))
        {
            continue;
        }
        let cell = uid.is_some_and(|uid| cell_ids(mode).contains(&uid) || user == Some(uid));
        let own_file = std::fs::read_link(entry.path().join("exe")).is_ok_and(|file| file == brig);
        if cell || own_file || container.is_some() {
            let name = field(&status, "Name:").unwrap_or_default().trim().to_owned();
            let state = field(&status, "State:").unwrap_or_default().trim().to_owned();
            let parent = field(&status, "PPid:").unwrap_or_default().trim().to_owned();
            let what = format!("{name} uid {uid:?} parent {parent} {state}");
            let cell = container.unwrap_or_else(|| format!("{uid:?}"));
            found.insert(pid, Process { cell, what });
        }
    }
    found
}

/// The control groups of a process, as the kernel lists them.
fn groups_of(process: &Path) -> String {
    std::fs::read_to_string(process.join("cgroup")).unwrap_or_default()
}

/// Whether `groups` names the group of a keeper (`brig-INSTANCE-PID`) that is alive and not of the staged
/// program: somebody else's service on the same host is none of our business.
fn is_of_another_keeper(brig: &Path, groups: &str) -> bool {
    let names = groups.split(['/', '\n']).filter(|name| name.starts_with("brig-"));
    let keepers = names.filter_map(|name| name.rsplit('-').next()?.parse::<u32>().ok());
    keepers
        .filter_map(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok())
        .any(|file| file != brig)
}

/// Whether the first ancestor of a cell's process that is no process of a cell is alive and not of the staged
/// program. An orphan has none.
fn has_another_keeper(brig: &Path, pid: u32, mode: Mode) -> bool {
    let mut current = pid;
    loop {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{current}/status")) else {
            return false;
        };
        let number = |name| {
            field(&status, name)?
                .split_whitespace()
                .next()?
                .parse::<u32>()
                .ok()
        };
        let in_a_cell = number("Uid:").is_some_and(|uid| cell_ids(mode).contains(&uid));
        match number("PPid:") {
            Some(parent) if in_a_cell && parent > 1 => current = parent,
            Some(_) | None => {
                let file = std::fs::read_link(format!("/proc/{current}/exe"));
                return current != pid && !in_a_cell && file.is_ok_and(|file| file != brig);
            }
        }
    }
}

/// The value of one line of a `status` file.
#[must_use]
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))
}

/// Control groups of Brig in every tree.
fn groups(brig: &Path, containers: &Containers) -> BTreeSet<PathBuf> {
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
            let container = containers.groups.as_deref().is_some_and(|groups| {
                directory.ends_with(groups) && !containers.spare.contains_key(name.as_str())
            });
            if (ours || cell || container) && !is_of_another_keeper(brig, &entry.path().to_string_lossy()) {
                found.insert(entry.path());
            }
            open.push(entry.path());
        }
    }
    found
}

/// The mount table, without what an engine of the tests keeps there, except in the mode that runs on it.
fn mounts(containers: &Containers) -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let of_an_engine = |line: &str| {
        ["/brig-tests-engine/", "/overlay2/", "/docker/netns/"]
            .iter()
            .any(|part| line.contains(part))
    };
    // Where each of its containers has a root and a network namespace; other engines are none of our business.
    let of_ours = |line: &str| {
        let name = containers
            .groups
            .as_deref()
            .and_then(|groups| groups.strip_prefix("brig-tests-engine-"));
        name.is_some_and(|name| line.contains(&format!("/engine/{name}/overlay2/")))
    };
    let of_a_spare = |line: &str| {
        let mut roots = containers.spare.values().flatten();
        roots.any(|root| line.contains(root.as_str()))
    };
    table
        .lines()
        .filter(|line| of_ours(line) || !of_an_engine(line))
        .filter(|line| !of_a_spare(line))
        .map(str::to_owned)
        .collect()
}

/// The containers of a mode's engine. The spare ones are no leftovers: they have seen no program.
#[derive(Debug, Default)]
struct Containers {
    /// The group that holds all of their groups; none in a mode without an engine.
    groups: Option<String>,
    used: BTreeSet<String>,
    /// With where their roots are mounted.
    spare: BTreeMap<String, Option<String>>,
}

impl Containers {
    fn of(mode: Mode) -> Self {
        if !mode.cells.are_containers() {
            return Self::default();
        }
        let Ok(engine) = Engine::of_the_tests() else {
            return Self::default();
        };
        let known = engine.containers().unwrap_or_default();
        let spare = known.iter().filter(|one| one.is_spare);
        Self {
            groups: engine.groups(),
            spare: spare
                .map(|one| (one.id.clone(), engine.root_of(&one.id)))
                .collect(),
            used: known
                .iter()
                .filter(|one| !one.is_spare)
                .map(|one| one.id.clone())
                .collect(),
        }
    }

    /// The container that a process with these groups is in.
    fn of_process(&self, listed: &str) -> Option<String> {
        let (_, below) = listed.split_once(&format!("/{}/", self.groups.as_deref()?))?;
        Some(below.split(['/', '\n']).next()?.to_owned())
    }
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
