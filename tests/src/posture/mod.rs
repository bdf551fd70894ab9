//! The posture of a running cell as the host sees it: who its processes are, what they hold and what binds them.
//!
//! ```text
//!  Posture::of(cell, other cell) ─▶ lines, with <cell> for what differs from run to run
//!                                        │
//!                 golden::compare ◀──────┴── tests/golden/posture-MODE.txt
//! ```
//!
//! A line may begin with a tag in brackets, which says on which hosts it is expected: `[v1]` and `[v2]` where cells
//! have control groups of that version to be in, `[/proc/acpi]` where the host has that file.

pub mod golden;
mod mounts;
mod process;

use crate::assert::processes_with;
use crate::process::wait_until;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::time::Duration;

/// The processes of one running cell, by their ids on the host.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// PID 1 of the cell.
    pub init: u32,
    /// The program.
    pub main: u32,
    /// A child of the program.
    pub child: u32,
}

impl Cell {
    /// Waits until `programs/posture.py MARKER` stands still.
    ///
    /// # Errors
    /// When it does not within a while.
    pub fn with_marker(marker: &str) -> Result<Self> {
        let mut found = Vec::new();
        wait_until(Duration::from_secs(20), || {
            found = processes_with(marker);
            !found.is_empty()
        });
        let child = *found.first().context("the program was never seen")?;
        let main = parent(child)?;
        let init = parent(main)?;
        ensure!(
            found.len() == 1,
            "more than one process with the marker: {found:?}"
        );
        Ok(Self { init, main, child })
    }

    fn roles(self) -> [(&'static str, u32); 3] {
        [("init", self.init), ("main", self.main), ("child", self.child)]
    }
}

fn parent(pid: u32) -> Result<u32> {
    let status = read(pid, "status")?;
    let line = crate::assert::field(&status, "PPid:").context("no PPid")?;
    Ok(line.trim().parse()?)
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    let bytes = std::fs::read(&path).with_context(|| format!("failed to read {path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn link(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    let target = std::fs::read_link(&path).with_context(|| format!("failed to read {path}"))?;
    Ok(target.to_string_lossy().into_owned())
}

/// The version of control groups that this host gives cells, as in the tags.
#[must_use]
pub fn group_version() -> &'static str {
    if crate::groups::is_v2() { "v2" } else { "v1" }
}

/// Everything about `cell` that another one would show too. `other` is a second cell, to tell what is shared.
///
/// # Errors
/// When a process is gone or a file of `/proc` has another form.
pub fn of(cell: Cell, other: Cell) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let ids = process::Ids::of(cell.init)?;
    for (role, pid) in cell.roles() {
        let told = process::about(pid, &ids).with_context(|| format!("{role} ({pid})"))?;
        lines.extend(told.into_iter().map(|line| tagged(role, &line)));
    }
    lines.extend(namespaces(cell, other)?);
    lines.extend(mounts::table(cell.main, &ids)?);
    lines.extend(mounts::same_for_all(cell)?);
    lines.extend(mounts::devices(cell.main, &ids)?);
    Ok(lines)
}

/// `[tag] role rest`: the tag stays in front.
fn tagged(role: &str, line: &str) -> String {
    match line.split_once("] ") {
        Some((tag, rest)) if line.starts_with('[') => format!("{tag}] {role} {rest}"),
        _ => format!("{role} {line}"),
    }
}

const NAMESPACES: [&str; 10] = [
    "cgroup",
    "ipc",
    "mnt",
    "net",
    "pid",
    "pid_for_children",
    "time",
    "time_for_children",
    "user",
    "uts",
];

/// Of each namespace whether it is the cell's own, the host's, or shared with the other cell.
fn namespaces(cell: Cell, other: Cell) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for name in NAMESPACES {
        let file = format!("ns/{name}");
        let mut of_role = BTreeMap::new();
        for (role, pid) in cell.roles() {
            of_role.insert(role, link(pid, &file)?);
        }
        let main = link(cell.main, &file)?;
        let alike = of_role.values().all(|namespace| *namespace == main);
        let whose = if main == link(std::process::id(), &file)? {
            "the host's"
        } else if main == link(other.main, &file)? {
            "shared with another cell"
        } else {
            "the cell's own"
        };
        let among = if alike {
            "the same for all processes"
        } else {
            "different among its processes"
        };
        lines.push(format!("namespace {name}: {whose}, {among}"));
    }
    Ok(lines)
}
