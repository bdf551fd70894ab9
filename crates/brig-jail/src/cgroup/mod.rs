//! Control groups of cells, on version 1, version 2 and hybrid hosts.
//!
//! ```text
//!  <the keeper's group>/                   the keeper, and the PID 1s of all cells
//!      brig-<instance>-<keeper's pid>/     one per tree
//!          cell-<n>/                       everything that a cell's program does; the limits
//! ```
//!
//! A PID 1 is never in its cell's group, so a cell's limits never slow its own end. Only the future program is moved,
//! once, while the cell is built: a move can take 15 ms, when the kernel has not made one for a while.
//!
//! On a hybrid host the limits live in the version 1 trees, and the cell is also a member of a group in the
//! version 2 tree, where `cgroup.kill` works although no controller is there.

mod files;
mod leftovers;
mod mounts;
mod v1;
mod v2;

pub(crate) use files::errno_of;

use crate::protocol::{CellLimits, CellNumber, CgroupKind};
use mounts::{Hierarchy, TreeMount};
use nix::errno::Errno;
use nix::unistd::{Pid, geteuid};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The error of a group that is this user's, but without all controllers that cells need.
pub(crate) const CONTROLLER_MISSING: Errno = Errno::ENODEV;

/// A set of controllers, in the bits of the receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Controllers(u8);

impl Controllers {
    pub(crate) const MEMORY: u8 = 1;
    pub(crate) const CPU: u8 = 2;
    pub(crate) const PIDS: u8 = 4;
    pub(crate) const SWAP_OFF: u8 = 16;
    pub(crate) const KILL: u8 = 32;

    fn with(self, bit: u8) -> Controllers {
        Controllers(self.0 | bit)
    }

    pub(crate) fn has(self, bit: u8) -> bool {
        self.0 & bit == bit
    }

    pub(crate) fn bits(self) -> u8 {
        self.0
    }
}

/// What the kernel counted for a cell; `None` where nobody counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    pub(crate) cpu_nanos: Option<u64>,
    pub(crate) throttled_nanos: Option<u64>,
    pub(crate) memory_peak: Option<u64>,
    pub(crate) processes_peak: Option<u64>,
    pub(crate) oom_kills: Option<u64>,
    pub(crate) forks_refused: Option<u64>,
}

/// One tree, with the keeper's group in it.
#[derive(Debug, Clone)]
struct Tree {
    base: PathBuf,
    hierarchy: Hierarchy,
    controllers: Controllers,
}

/// The keeper's groups in all trees.
#[derive(Debug)]
pub(crate) struct CgroupHost {
    trees: Vec<Tree>,
    kind: CgroupKind,
    controllers: Controllers,
    limits: Limits,
}

/// Whether cells get their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limits {
    Written,
    /// A control arm: the groups are there, their limits are not.
    LeftOut,
}

impl CgroupHost {
    /// Makes the keeper's groups, after freeing those that a dead keeper of this instance left.
    /// `base` replaces the keeper's own group, as a path below each tree's mount point.
    pub(crate) fn open(instance: &str, base: Option<&Path>) -> nix::Result<CgroupHost> {
        let name = format!("brig-{instance}-{}", std::process::id());
        let mut host = CgroupHost {
            trees: Vec::new(),
            kind: CgroupKind::None,
            controllers: Controllers::default(),
            limits: Limits::Written,
        };
        let mounts = mounts::discover();
        // Version 1 lets only root move a process of another uid, and a cell's uid is another one.
        if !geteuid().is_root() && mounts.iter().any(|mount| mount.hierarchy != Hierarchy::V2) {
            return Err(Errno::EACCES);
        }
        for mount in mounts {
            let opened = parent_group(&mount, base).and_then(|parent| {
                leftovers::remove(&parent, instance, &name);
                open_tree(mount.hierarchy, parent.join(&name))
            });
            match opened {
                Ok(tree) => host.trees.push(tree),
                Err(errno) => {
                    // Half a set of trees limits nothing reliably.
                    host.remove();
                    return Err(errno);
                }
            }
        }
        host.kind = kind_of(&host.trees).ok_or(Errno::ENOENT)?;
        host.controllers = host.measure();
        Ok(host)
    }

    /// Which controllers hold cells here, found out on the keeper's own new group, which has the same files.
    fn measure(&self) -> Controllers {
        let mut found = Controllers::default();
        for tree in &self.trees {
            found = found.with(tree.controllers.bits());
            let (swap, kill) = match tree.hierarchy {
                Hierarchy::V1(_) => (v1::swap_is_off(&tree.base), false),
                Hierarchy::V2 => (v2::swap_is_accounted(&tree.base), v2::has_kill(&tree.base)),
            };
            if swap {
                found = found.with(Controllers::SWAP_OFF);
            }
            if kill {
                found = found.with(Controllers::KILL);
            }
        }
        found
    }

    pub(crate) fn kind(&self) -> CgroupKind {
        self.kind
    }

    pub(crate) fn controllers(&self) -> Controllers {
        self.controllers
    }

    /// Whether the keeper's groups lie in a directory that their owner's mode does not let this user write: the top of a
    /// tree, or somebody else's group.
    pub(crate) fn needs_override(&self) -> bool {
        let writable = |parent: &Path| {
            parent
                .metadata()
                .is_ok_and(|found| found.uid() == geteuid().as_raw() && found.mode() & 0o200 != 0)
        };
        let parents = self.trees.iter().filter_map(|tree| tree.base.parent());
        !parents.into_iter().all(writable)
    }

    /// Cells of this host get no limits: only for a control arm.
    pub(crate) fn leave_out_limits(&mut self) {
        self.limits = Limits::LeftOut;
    }

    /// The groups of a cell. Nothing is made yet.
    pub(crate) fn cell(&self, number: CellNumber) -> CellGroups {
        let name = format!("cell-{number}");
        let groups = self.trees.iter().map(|tree| Group {
            path: tree.base.join(&name),
            hierarchy: tree.hierarchy.clone(),
            controllers: tree.controllers,
        });
        CellGroups {
            groups: groups.collect(),
            limits: self.limits,
        }
    }

    /// Removes the keeper's groups; the cells' are gone before. What cannot be removed now is a leftover, which the
    /// next start removes.
    pub(crate) fn remove(&self) {
        for tree in &self.trees {
            files::remove(&tree.base).ok();
        }
    }
}

fn parent_group(mount: &TreeMount, base: Option<&Path>) -> nix::Result<PathBuf> {
    let own = match base {
        Some(base) => mount.mount_point.join(base.strip_prefix("/").unwrap_or(base)),
        None => mount.own.clone(),
    };
    match mount.hierarchy {
        Hierarchy::V1(_) => Ok(own),
        Hierarchy::V2 if offers_controllers(&mount.mount_point) => {
            v2::parent_of_cells(&own, &mount.mount_point)
        }
        Hierarchy::V2 => Ok(own),
    }
}

/// Whether a version 2 tree has controllers that cells need (on a hybrid host they are in the version 1 trees).
fn offers_controllers(top: &Path) -> bool {
    let offered = std::fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
    offered
        .split_whitespace()
        .any(|name| ["memory", "cpu", "pids"].contains(&name))
}

fn open_tree(hierarchy: Hierarchy, base: PathBuf) -> nix::Result<Tree> {
    files::make(&base)?;
    let controllers = match &hierarchy {
        Hierarchy::V1(names) => v1::controllers(names),
        Hierarchy::V2 => {
            v2::hand_down(&base);
            v2::handed_down(&base)
        }
    };
    // All cells together weigh as much as several processes, not as one: each of them would otherwise get a part of
    // one process's share beside other groups and processes of the host.
    files::write(&base, "cpu.shares", "8192").ok();
    files::write(&base, "cpu.weight", "800").ok();
    Ok(Tree {
        base,
        hierarchy,
        controllers,
    })
}

/// `None`: no tree at all.
fn kind_of(trees: &[Tree]) -> Option<CgroupKind> {
    let v1 = trees
        .iter()
        .any(|tree| matches!(tree.hierarchy, Hierarchy::V1(_)));
    let v2 = trees.iter().any(|tree| tree.hierarchy == Hierarchy::V2);
    match (v1, v2) {
        (true, true) => Some(CgroupKind::Hybrid),
        (true, false) => Some(CgroupKind::V1),
        (false, true) => Some(CgroupKind::V2),
        (false, false) => None,
    }
}

/// A cell's group in one tree.
#[derive(Debug, Clone)]
struct Group {
    path: PathBuf,
    hierarchy: Hierarchy,
    controllers: Controllers,
}

/// The groups of one cell.
#[derive(Debug, Clone)]
pub(crate) struct CellGroups {
    groups: Vec<Group>,
    limits: Limits,
}

impl CellGroups {
    /// Makes the groups.
    pub(crate) fn create(&self) -> nix::Result<()> {
        self.groups.iter().try_for_each(|group| files::make(&group.path))
    }

    /// Moves this process, an enter-helper, to where memory and CPU time are charged. Not to where processes are
    /// counted or killed, as far as the trees are separate: it is none of the program's processes, and it outlives
    /// them.
    pub(crate) fn enter_as_helper(&self) -> nix::Result<()> {
        let charged = |group: &&Group| {
            group.controllers.has(Controllers::MEMORY) || group.controllers.has(Controllers::CPU)
        };
        self.groups
            .iter()
            .filter(charged)
            .try_for_each(|group| files::write(&group.path, "cgroup.procs", "0"))
    }

    /// Opens the way into the groups for [`move_process`], while this process may still do so.
    pub(crate) fn open_entrance(&self) -> nix::Result<Vec<File>> {
        let open = |group: &Group| {
            OpenOptions::new()
                .write(true)
                .open(group.path.join("cgroup.procs"))
        };
        let opened: Result<Vec<File>, _> = self.groups.iter().map(open).collect();
        opened.map_err(|error| files::errno_of(&error))
    }

    /// Writes the limits.
    pub(crate) fn limit(&self, limits: &CellLimits) -> nix::Result<()> {
        if self.limits == Limits::LeftOut {
            return Ok(());
        }
        self.groups.iter().try_for_each(|group| match &group.hierarchy {
            Hierarchy::V1(_) => v1::limit(&group.path, group.controllers, limits),
            Hierarchy::V2 => v2::limit(&group.path, group.controllers, limits),
        })
    }

    /// Kills what is in the cell. `false`: no tree has `cgroup.kill`.
    pub(crate) fn kill(&self) -> bool {
        let mut trees = self
            .groups
            .iter()
            .filter(|group| group.hierarchy == Hierarchy::V2);
        trees.any(|group| v2::kill(&group.path).is_ok())
    }

    /// After [`CellGroups::kill`]: takes the limit of CPU time away, so that many large processes are taken apart as
    /// fast as this machine can. Nothing of the program runs any more. Where it fails they go slower.
    pub(crate) fn hurry(&self) {
        for group in &self.groups {
            match &group.hierarchy {
                Hierarchy::V1(_) => v1::hurry(&group.path, group.controllers),
                Hierarchy::V2 => v2::hurry(&group.path, group.controllers),
            }
        }
    }

    /// What the kernel counted so far.
    pub(crate) fn count(&self) -> Counters {
        let mut counters = Counters::default();
        for group in &self.groups {
            match &group.hierarchy {
                Hierarchy::V1(names) => v1::count(&group.path, names, &mut counters),
                Hierarchy::V2 => v2::count(&group.path, group.controllers, &mut counters),
            }
        }
        counters
    }

    /// CPU time so far, nanoseconds.
    pub(crate) fn cpu_nanos(&self) -> Option<u64> {
        self.groups.iter().find_map(|group| match &group.hierarchy {
            Hierarchy::V1(names) if names.iter().any(|name| name == "cpuacct") => {
                files::number(&group.path, "cpuacct.usage")
            }
            Hierarchy::V1(_) => None,
            Hierarchy::V2 => v2::cpu_nanos(&group.path),
        })
    }

    /// The pids in the cell's groups.
    pub(crate) fn processes(&self) -> Vec<i32> {
        self.groups
            .first()
            .and_then(|group| v2::processes(&group.path).ok())
            .unwrap_or_default()
    }

    /// Removes the groups. EBUSY: something in them still lives.
    pub(crate) fn remove(&self) -> nix::Result<()> {
        self.groups
            .iter()
            .try_for_each(|group| files::remove(&group.path))
    }
}

/// Moves a process through the files that [`CellGroups::open_entrance`] opened.
pub(crate) fn move_process(into: &mut [File], process: Pid) -> nix::Result<()> {
    let value = process.to_string();
    into.iter_mut().try_for_each(|file| {
        file.write_all(value.as_bytes())
            .map_err(|error| files::errno_of(&error))
    })
}
