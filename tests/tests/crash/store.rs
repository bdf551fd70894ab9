//! The store, looked at from outside.

use crate::{PATIENCE, client};
use anyhow::{Context, Result, ensure};
use brig_tests::daemon::Daemon;
use brig_tests::process::{self, Running, wait_until};
use brig_tests::stage::source;
use nix::unistd::Pid;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn script(arguments: &[&str]) -> Command {
    let mut command = process::command("/usr/bin/python3");
    command.arg(source("clients/store.py")).args(arguments);
    command
}

/// Asserts what must hold of the whole store; what was counted.
pub(crate) fn check(data: &Path, accepted: &[String]) -> Result<Value> {
    let list = tempfile::NamedTempFile::new()?;
    std::fs::write(list.path(), accepted.join("\n"))?;
    let arguments = [
        "check",
        &data.display().to_string(),
        &list.path().display().to_string(),
    ];
    let done = process::run(script(&arguments), Vec::new(), PATIENCE)?;
    let found: Value = serde_json::from_slice(&done.stdout)
        .with_context(|| format!("no answer: {}", String::from_utf8_lossy(&done.stderr)))?;
    ensure!(found["faults"] == serde_json::json!([]), "{found:#}");
    Ok(found)
}

/// Kills `pid` as soon as `query` gives something.
pub(crate) fn kill_when(data: &Path, pid: Pid, query: &str) -> Result<Running> {
    let arguments = ["kill", &data.display().to_string(), &pid.to_string(), query];
    process::start(script(&arguments), Vec::new())
}

/// Waits until no job waits or runs.
pub(crate) fn wait_for_all(daemon: &Daemon) -> Result<()> {
    let arguments = [
        "jobs",
        "--ids",
        "--state",
        "queued",
        "--state",
        "running",
        "--state",
        "cancelling",
    ];
    let mut left = String::new();
    let calm = wait_until(Duration::from_secs(180), || {
        let done = client(daemon, &arguments);
        left = done.map_or_else(
            |error| format!("{error:#}"),
            |done| {
                let said = [done.stdout, done.stderr].concat();
                String::from_utf8_lossy(&said).into_owned()
            },
        );
        left.is_empty()
    });
    ensure!(calm, "these do not end: {left}");
    Ok(())
}
