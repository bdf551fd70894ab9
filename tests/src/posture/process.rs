//! One process: identity, power, filter, limits, environment, descriptors, control groups, scheduling.

use super::{group_version, link, read};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// Lines of `status` that every thread has for itself.
const PER_THREAD: [&str; 14] = [
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Umask",
    "TracerPid",
    "SigBlk",
];

const NO_CAPABILITY: &str = "0000000000000000";

/// The cell's ids on the host.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) user: String,
    pub(super) group: String,
}

impl Ids {
    /// The real ids of a process.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let status = read(pid, "status")?;
        let first = |name: &str| {
            let ids = crate::assert::field(&status, name)?;
            ids.split_whitespace().next().map(str::to_owned)
        };
        Ok(Self {
            user: first("Uid:").context("no Uid")?,
            group: first("Gid:").context("no Gid")?,
        })
    }

    /// `<cell>` for every word that is one of them.
    fn hide(&self, text: &str) -> String {
        let own = |word: &&str| *word == self.user || *word == self.group;
        let hidden = text
            .split(' ')
            .map(|word| if own(&word) { "<cell>" } else { word });
        hidden.collect::<Vec<_>>().join(" ")
    }
}

/// All lines about one process, `<cell>` in the place of the cell's ids.
pub(super) fn about(pid: u32, ids: &Ids) -> Result<Vec<String>> {
    let mut lines = threads(pid, ids)?;
    for map in ["uid_map", "gid_map"] {
        lines.push(format!("{map}: {}", ids.hide(&words(&read(pid, map)?))));
    }
    lines.push(format!("setgroups: {}", words(&read(pid, "setgroups")?)));
    let open_to = std::fs::metadata(format!("/proc/{pid}/environ"))?
        .uid()
        .to_string();
    lines.push(format!(
        "dumpable: {}",
        if open_to == ids.user { "yes" } else { "no" }
    ));
    lines.push(format!("personality: {}", words(&read(pid, "personality")?)));
    let status = read(pid, "status")?;
    let ignored = crate::assert::field(&status, "SigIgn:").unwrap_or_default();
    lines.push(format!("ignored signals: {}", ignored.trim()));
    lines.extend(command(pid)?);
    lines.extend(environment(pid)?);
    lines.extend(descriptors(pid)?);
    lines.extend(limits(pid)?);
    lines.extend(groups(pid)?);
    lines.extend(scheduling(pid)?);
    Ok(lines)
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every thread; threads that are alike are one group of lines with their number.
fn threads(pid: u32, ids: &Ids) -> Result<Vec<String>> {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(entry?.path().join("status"))?;
        *kinds.entry(thread(&status, ids)).or_default() += 1;
    }
    let mut lines = Vec::new();
    for (kind, count) in kinds {
        lines.push(format!("threads: {count} with"));
        lines.extend(kind.lines().map(|line| format!("  {line}")));
    }
    Ok(lines)
}

fn thread(status: &str, ids: &Ids) -> String {
    let value = |name: &&str| {
        let value = crate::assert::field(status, &format!("{name}:")).unwrap_or("not told");
        let value = words(value);
        let shown = if value == NO_CAPABILITY {
            "none".to_owned()
        } else {
            ids.hide(&value)
        };
        format!("{name}: {shown}")
    };
    PER_THREAD.iter().map(value).collect::<Vec<_>>().join("\n")
}

/// What it was started as and where it is. Of a long argument (the runner's) only the beginning.
fn command(pid: u32) -> Result<Vec<String>> {
    let arguments = read(pid, "cmdline")?;
    let arguments = arguments.trim_end_matches('\0').split('\0').map(|argument| {
        let marked = argument.starts_with("1000.");
        let shown: String = argument.chars().take(24).collect();
        if marked {
            "<marker>".to_owned()
        } else {
            words(&shown)
        }
    });
    let arguments = arguments.collect::<Vec<_>>().join("|");
    Ok(vec![
        format!("arguments: {arguments}"),
        format!("program: {}", without_version(&link(pid, "exe")?)),
        format!("working directory: {}", link(pid, "cwd")?),
        format!("root: {}", link(pid, "root")?),
    ])
}

/// Which Python a host has is its own business.
fn without_version(program: &str) -> &str {
    match program.rsplit_once("python3.") {
        Some((directory, _)) => &program[..directory.len() + "python3".len()],
        None => program,
    }
}

fn environment(pid: u32) -> Result<Vec<String>> {
    let variables = read(pid, "environ")?;
    let mut lines: Vec<String> = variables
        .split('\0')
        .filter(|variable| !variable.is_empty())
        .map(|variable| format!("variable: {variable}"))
        .collect();
    lines.sort();
    if lines.is_empty() {
        lines.push("variables: none".to_owned());
    }
    Ok(lines)
}

const O_ACCMODE: u32 = 0o3;
const O_CLOEXEC: u32 = 0o2_000_000;
const O_PATH: u32 = 0o10_000_000;

/// Every descriptor: number, kind, how it was opened, whether a new program would inherit it.
fn descriptors(pid: u32) -> Result<Vec<String>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let number: u32 = entry?.file_name().to_string_lossy().parse()?;
        let target = link(pid, &format!("fd/{number}"))?;
        let information = read(pid, &format!("fdinfo/{number}"))?;
        let flags = crate::assert::field(&information, "flags:").context("no flags")?;
        let flags = u32::from_str_radix(flags.trim(), 8)?;
        let access = match flags & O_ACCMODE {
            _ if flags & O_PATH != 0 => "path only",
            0 => "read",
            1 => "write",
            _ => "read and write",
        };
        let inherited = if flags & O_CLOEXEC == 0 {
            "inherited"
        } else {
            "closed on exec"
        };
        found.insert(
            number,
            format!("descriptor {number}: {}, {access}, {inherited}", kind(&target)),
        );
    }
    Ok(found.into_values().collect())
}

/// `socket:[123]` is a socket; a device keeps its name.
fn kind(target: &str) -> String {
    match target.split_once(":[") {
        Some(("anon_inode", name)) => name.trim_end_matches(']').to_owned(),
        Some((kind, _)) => kind.to_owned(),
        None => format!("file {target}"),
    }
}

/// The limits of resources. They depend on whether a control group holds memory and processes.
fn limits(pid: u32) -> Result<Vec<String>> {
    let table = read(pid, "limits")?;
    let version = group_version();
    let line = |line: &str| {
        let name: String = line.chars().take(25).collect();
        let values: String = line.chars().skip(25).collect();
        let mut values = values.split_whitespace();
        let (soft, hard) = (
            values.next().unwrap_or_default(),
            values.next().unwrap_or_default(),
        );
        format!("[{version}] limit {}: {soft}, {hard}", words(&name))
    };
    // PID 1 has those of whoever started Brig, but for the soft limit of open files, which the keeper raises.
    let but_open_files = |table: &str| -> Vec<String> {
        let others = |row: &&str| !row.starts_with("Max open files");
        table.lines().filter(others).map(words).collect()
    };
    if but_open_files(&table) == but_open_files(&read(std::process::id(), "limits")?) {
        return Ok(vec!["limits: the caller's".to_owned()]);
    }
    Ok(table.lines().skip(1).map(line).collect())
}

/// In which group each controller that Brig uses counts the process, and the limits there.
fn groups(pid: u32) -> Result<Vec<String>> {
    let listed = read(pid, "cgroup")?;
    let version = group_version();
    let mut lines = Vec::new();
    for controller in ["memory", "pids", "cpu", "tree"] {
        let path = crate::groups::path_of(&listed, controller).unwrap_or("none");
        lines.push(format!("[{version}] group {controller}: {}", place(path)));
    }
    for (controller, first, second) in crate::groups::LIMITS {
        let file = if crate::groups::is_v2() { second } else { first };
        let path = crate::groups::path_of(&listed, controller).unwrap_or("none");
        if path.contains("cell-") {
            let value = crate::groups::read(pid, controller, file)
                .unwrap_or_else(|_not_on_this_host| "not there".to_owned());
            lines.push(format!("[{version}] group limit {file}: {value}"));
        }
    }
    Ok(lines)
}

/// The part of a group's path from the cell on.
fn place(path: &str) -> String {
    let mut parts = path.split('/').skip_while(|part| !part.starts_with("cell-"));
    match parts.next() {
        None => "outside every cell".to_owned(),
        Some(_) => std::iter::once("<cell>")
            .chain(parts)
            .collect::<Vec<_>>()
            .join("/"),
    }
}

const POLICIES: [&str; 7] = ["other", "fifo", "rr", "batch", "iso", "idle", "deadline"];

/// Session, terminal, scheduling and the kernel's choice when memory runs out.
fn scheduling(pid: u32) -> Result<Vec<String>> {
    let stat = read(pid, "stat")?;
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    // Field 3 of the manual page, the state, is the first here.
    let field: Vec<&str> = rest.split_whitespace().collect();
    let at = |number: usize| field.get(number - 3).copied().unwrap_or("none");
    let whose = |value: &str| {
        if value == pid.to_string() {
            "its own"
        } else {
            "another's"
        }
    };
    let policy: usize = at(41).parse()?;
    let score: i32 = read(pid, "oom_score_adj")?.trim().parse()?;
    let outer: i32 = read(std::process::id(), "oom_score_adj")?.trim().parse()?;
    Ok(vec![
        format!("group: {}, session: {}", whose(at(5)), whose(at(6))),
        format!("terminal: {}", if at(7) == "0" { "none" } else { at(7) }),
        format!(
            "scheduling: {}, nice {}, real-time priority {}",
            POLICIES.get(policy).unwrap_or(&"unknown"),
            at(19),
            at(40)
        ),
        format!("oom score against the caller's: {}", score - outer),
    ])
}
