//! The control groups of a process, read from the host.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Whether the host has one tree of version 2.
#[must_use]
pub fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The path of the group in which `controller` counts the process; `tree` is the one without controllers.
#[must_use]
pub fn path_of<'a>(listed: &'a str, controller: &str) -> Option<&'a str> {
    let found = listed.lines().find(|line| {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        if is_v2() || controller == "tree" {
            line.starts_with("0::")
        } else {
            controllers.split(',').any(|name| name == controller)
        }
    });
    found.and_then(|line| line.splitn(3, ':').nth(2))
}

/// Reads a file of the group in which `controller` counts the process.
///
/// # Errors
/// When the process or the file is gone.
pub fn read(pid: u32, controller: &str, file: &str) -> Result<String> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let group = path_of(&listed, controller).context("no such controller")?;
    let tree = if is_v2() {
        PathBuf::from(ROOT)
    } else {
        Path::new(ROOT).join(controller)
    };
    let path = tree.join(group.trim_start_matches('/')).join(file);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// The limits of a cell: controller, the file of version 1, the file of version 2.
pub const LIMITS: [(&str, &str, &str); 4] = [
    ("memory", "memory.limit_in_bytes", "memory.max"),
    ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    ("pids", "pids.max", "pids.max"),
    ("cpu", "cpu.cfs_quota_us", "cpu.max"),
];
