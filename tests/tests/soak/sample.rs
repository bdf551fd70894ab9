//! What the service holds at one quiet moment, and whether that grows.

use anyhow::{Context, Result, ensure};
use brig_tests::assert::field;
use brig_tests::daemon::Daemon;
use brig_tests::process::{self, wait_until};
use brig_tests::stage::source;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// How long the service may take to be as quiet as it was: spare cells are built after the last job.
const QUIET_WITHIN: Duration = Duration::from_secs(8);

/// So many looks without a change are calm: a third of a second.
const CALM_LOOKS: u32 = 16;

/// What is counted, and how much it may grow over the whole run, by the fitted line: a little more than what comes and
/// goes by itself (threads for blocking calls, mounts of somebody else), far less than one per hundred jobs. `None`:
/// shown only, because everybody on the machine contributes or because it must grow (a record per job).
pub(crate) const COLUMNS: [(&str, Option<f64>); 18] = [
    ("keeper fds", Some(4.0)),
    ("keeper threads", Some(0.5)),
    ("keeper KiB", Some(1024.0)),
    ("daemon fds", Some(4.0)),
    ("daemon threads", Some(8.0)),
    ("daemon KiB", None),
    ("processes", Some(3.0)),
    ("namespaces", Some(8.0)),
    ("keeper mounts", Some(4.0)),
    ("host mounts", None),
    ("groups", Some(4.0)),
    ("temporary files", Some(0.5)),
    ("jobs stored", None),
    ("db KiB", None),
    ("wal KiB", None),
    ("host pid ns", None),
    ("host net ns", None),
    ("host mem groups", None),
];

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) jobs: f64,
    pub(crate) values: [f64; COLUMNS.len()],
}

impl Sample {
    /// Looks when it is quiet: for a while no process comes or goes, and there are about as many as there are idle.
    pub(crate) fn take(daemon: &Daemon, jobs: usize, idle: usize) -> Result<Self> {
        let (mut before, mut calm) = (Vec::new(), 0);
        wait_until(QUIET_WITHIN, || {
            let now = processes(daemon).unwrap_or_default();
            calm = if now == before { calm + 1 } else { 0 };
            before = now;
            // A spare cell may have a helper for its files already, or not yet.
            calm >= CALM_LOOKS && before.len() <= idle + 2
        });
        let (keeper, inner) = (daemon.keeper()?, daemon.daemon()?);
        let all = processes(daemon)?;
        let store = store(daemon)?;
        let kib = |name: &str| store["bytes"][name].as_f64().unwrap_or(0.0) / 1024.0;
        let [keeper_fds, keeper_threads, keeper_kib] = size(keeper)?;
        let [daemon_fds, daemon_threads, daemon_kib] = size(inner)?;
        let values = [
            keeper_fds,
            keeper_threads,
            keeper_kib,
            daemon_fds,
            daemon_threads,
            daemon_kib,
            count(all.len()),
            count(namespaces(&all).len()),
            lines(&format!("/proc/{keeper}/mountinfo")),
            lines("/proc/self/mountinfo"),
            count(groups(Path::new("/sys/fs/cgroup"), keeper)),
            count(files(&daemon.data().join("files/tmp"))),
            store["rows"]["jobs"].as_f64().unwrap_or(-1.0),
            kib("brig.db"),
            kib("brig.db-wal"),
            slab("pid_namespace"),
            slab("net_namespace"),
            memory_groups(),
        ];
        Ok(Self {
            jobs: count(jobs),
            values,
        })
    }
}

/// The service and everything that descends from it.
pub(crate) fn processes(daemon: &Daemon) -> Result<Vec<u32>> {
    let mut found = vec![daemon.keeper()?];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        at += 1;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    Ok(found)
}

/// Descriptors, threads, resident memory.
fn size(pid: u32) -> Result<[f64; 3]> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let number = |name: &str| -> Result<f64> {
        let value = field(&status, name).with_context(|| format!("no {name}"))?;
        Ok(value.split_whitespace().next().context("no value")?.parse()?)
    };
    let descriptors = files(Path::new(&format!("/proc/{pid}/fd")));
    Ok([count(descriptors), number("Threads:")?, number("VmRSS:")?])
}

fn namespaces(pids: &[u32]) -> BTreeSet<std::path::PathBuf> {
    let links = pids
        .iter()
        .filter_map(|pid| std::fs::read_dir(format!("/proc/{pid}/ns")).ok());
    links
        .flatten()
        .flatten()
        .filter_map(|link| std::fs::read_link(link.path()).ok())
        .collect()
}

/// Groups of this keeper (`brig-INSTANCE-PID`) and below, in every tree.
fn groups(directory: &Path, keeper: u32) -> usize {
    let end = format!("-{keeper}");
    let mut found = 0;
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let ours = path.iter().any(|name| {
            name.to_string_lossy().starts_with("brig-") && name.to_string_lossy().ends_with(&end)
        });
        found += usize::from(ours) + groups(&path, keeper);
    }
    found
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

fn lines(path: &str) -> f64 {
    count(std::fs::read_to_string(path).unwrap_or_default().lines().count())
}

/// Live objects of a slab of the kernel; -1 where it does not tell.
fn slab(name: &str) -> f64 {
    let table = std::fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let line = table.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(-1.0)
}

/// Memory control groups of the whole machine, those that are dying counted too.
fn memory_groups() -> f64 {
    let table = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let line = table.lines().find(|line| line.starts_with("memory\t"));
    line.and_then(|line| line.split_whitespace().nth(2)?.parse().ok())
        .unwrap_or(-1.0)
}

pub(crate) fn store(daemon: &Daemon) -> Result<Value> {
    let mut command = process::command("/usr/bin/python3");
    command
        .arg(source("clients/store.py"))
        .arg("count")
        .arg(daemon.data());
    let done = process::run(command, Vec::new(), Duration::from_secs(60))?;
    serde_json::from_slice(&done.stdout).with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn count(number: usize) -> f64 {
    number as f64
}

/// The table, one row per sample, and what the fitted line grows over the run.
pub(crate) fn table(samples: &[Sample]) -> String {
    let mut text = format!("{:>16}", "jobs");
    for sample in samples {
        text.push_str(&format!("{:>9}", sample.jobs));
    }
    text.push_str("   growth\n");
    for (column, (name, limit)) in COLUMNS.iter().enumerate() {
        text.push_str(&format!("{name:>16}"));
        for sample in samples {
            text.push_str(&format!("{:>9.0}", sample.values[column]));
        }
        let limit = limit.map_or(String::new(), |limit| format!(" (at most {limit})"));
        text.push_str(&format!("{:>9.1}{limit}\n", growth(samples, column)));
    }
    text
}

/// Least squares: how much the line through the samples rises from the first to the last.
fn growth(samples: &[Sample], column: usize) -> f64 {
    let number = count(samples.len());
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / number;
    let (x, y) = (mean(&|sample| sample.jobs), mean(&|sample| sample.values[column]));
    let both: f64 = samples
        .iter()
        .map(|sample| (sample.jobs - x) * (sample.values[column] - y))
        .sum();
    let squares: f64 = samples.iter().map(|sample| (sample.jobs - x).powi(2)).sum();
    let span =
        samples.last().map_or(0.0, |sample| sample.jobs) - samples.first().map_or(0.0, |sample| sample.jobs);
    if squares > 0.0 { both / squares * span } else { 0.0 }
}

/// Asserts that nothing grows that must not.
pub(crate) fn is_flat(samples: &[Sample]) -> Result<()> {
    for (column, (name, limit)) in COLUMNS.iter().enumerate() {
        if let Some(limit) = limit {
            let grown = growth(samples, column);
            ensure!(grown <= *limit, "{name} grows by {grown:.1}:\n{}", table(samples));
        }
    }
    Ok(())
}
