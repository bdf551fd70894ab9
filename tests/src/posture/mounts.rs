//! What is mounted and which devices there are, seen through the program's own table.

use super::process::Ids;
use super::{Cell, link, read};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Options that the host's own mount decides, or that only some kernels show.
const OF_THE_HOST: [&str; 8] = [
    "relatime",
    "noatime",
    "nodiratime",
    "strictatime",
    "inode64",
    "inode32",
    "noswap",
    "seclabel",
];

/// The mount table, in the order in which mounts lie on another.
pub(super) fn table(pid: u32, ids: &Ids) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut image = BTreeSet::new();
    for line in read(pid, "mountinfo")?.lines() {
        let mount = Mount::parse(line).with_context(|| format!("mountinfo: {line}"))?;
        match mount.of_the_image() {
            Some(place) => drop(image.insert(format!("mount {place}: the image's, {}", mount.flags()))),
            None => lines.push(mount.line(ids)),
        }
    }
    lines.sort();
    Ok(image.into_iter().chain(lines).collect())
}

struct Mount<'a> {
    root: &'a str,
    target: &'a str,
    options: &'a str,
    propagation: String,
    kind: &'a str,
    super_options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let shared: Vec<&str> = left
            .get(6..)?
            .iter()
            .filter_map(|tag| tag.split(':').next())
            .collect();
        Some(Self {
            root: left.get(3)?,
            target: left.get(4)?,
            options: left.get(5)?,
            propagation: if shared.is_empty() {
                "private".to_owned()
            } else {
                shared.join(" ")
            },
            kind: right.first()?,
            super_options: right.get(2)?,
        })
    }

    /// A place of the image whose exact entries every host has for itself.
    fn of_the_image(&self) -> Option<&'static str> {
        let known = [
            "tmpfs", "devtmpfs", "devpts", "proc", "mqueue", "sysfs", "cgroup2",
        ];
        let elsewhere = known.contains(&self.kind) && !self.root.starts_with("/usr");
        let from = |place: &str| self.root.starts_with(place);
        match self.target {
            _ if elsewhere => None,
            "/usr" => Some("/usr"),
            target if target.starts_with("/etc/") && (from("/etc/") || from("/usr/")) => Some("/etc/.."),
            target if target.starts_with("/usr/") && from("/usr/") => Some("/usr/.."),
            _ => None,
        }
    }

    fn flags(&self) -> String {
        let kept = self
            .options
            .split(',')
            .filter(|option| !OF_THE_HOST.contains(option));
        format!("{}, {}", kept.collect::<Vec<_>>().join(","), self.propagation)
    }

    fn line(&self, ids: &Ids) -> String {
        let (target, flags) = (self.target, self.flags());
        if let Some(device) = self.device() {
            // A mask is there where the host has what it hides.
            let tag = if target.starts_with("/proc/") {
                format!("[{target}] ")
            } else {
                String::new()
            };
            return format!("{tag}mount {target}: device {device}, {flags}");
        }
        let tag = if target.starts_with("/proc/") {
            format!("[{target}] ")
        } else {
            String::new()
        };
        let own = [format!("uid={}", ids.user), format!("gid={}", ids.group)];
        let options = self
            .super_options
            .split(',')
            .filter(|option| !OF_THE_HOST.contains(option));
        let options = options.map(|option| match own.iter().position(|id| id == option) {
            Some(0) => "uid=<cell>",
            Some(_) => "gid=<cell>",
            None => option,
        });
        let options = options.collect::<Vec<_>>().join(",");
        format!(
            "{tag}mount {target}: {} of {}, {flags}; {options}",
            self.root, self.kind
        )
    }

    /// One node of the host's `/dev`, whichever file system that is on.
    fn device(&self) -> Option<&str> {
        let name = self.root.rsplit('/').next()?;
        let node = Path::new("/dev").join(name);
        let is_device = std::fs::metadata(&node).is_ok_and(|data| data.file_type().is_char_device());
        let here = self.target.starts_with("/dev/") || self.target.starts_with("/proc/");
        (here && is_device && ["devtmpfs", "tmpfs"].contains(&self.kind)).then_some(name)
    }
}

/// Whether every process of the cell sees the same mounts from the same root.
pub(super) fn same_for_all(cell: Cell) -> Result<Vec<String>> {
    let main = read(cell.main, "mountinfo")?;
    let mut lines = Vec::new();
    for (role, pid) in cell.roles() {
        let same = read(pid, "mountinfo")? == main && link(pid, "root")? == "/";
        let word = if same { "the same" } else { "others" };
        lines.push(format!("mounts of {role}: {word} as the program's"));
    }
    Ok(lines)
}

/// Everything in `/dev`: kind, numbers, mode, owner.
pub(super) fn devices(pid: u32, ids: &Ids) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for directory in ["dev", "dev/pts", "dev/shm"] {
        let path = format!("/proc/{pid}/root/{directory}");
        for entry in std::fs::read_dir(&path).with_context(|| path.clone())? {
            let entry = entry?;
            let data = entry.metadata()?;
            let kind = data.file_type();
            let number = data.rdev();
            let what = if kind.is_symlink() {
                format!("link to {}", std::fs::read_link(entry.path())?.display())
            } else if kind.is_char_device() {
                let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
                format!("character device {major}:{minor}")
            } else if kind.is_dir() {
                "directory".to_owned()
            } else {
                format!("{kind:?}")
            };
            let owner = if data.uid().to_string() == ids.user {
                "<cell>"
            } else {
                "somebody else"
            };
            let mode = data.mode() & 0o7777;
            let name = entry.file_name();
            lines.push(format!(
                "device /{directory}/{}: {what}, mode {mode:o}, of {owner}",
                name.to_string_lossy()
            ));
        }
    }
    lines.sort();
    Ok(lines)
}
