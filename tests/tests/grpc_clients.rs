//! Clients that nobody wrote for Brig: Python through server reflection alone, Node with the .proto files.

use anyhow::{Result, ensure};
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach, has_program};
use brig_tests::process::{self, Done};
use brig_tests::skip::Skip;
use brig_tests::stage::{Stage, source, state};
use brig_tests::suite::{run, trial};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    run(vec![
        trial(
            "a Python client runs a job through server reflection alone",
            reflection,
        ),
        trial("a Node client runs a job from the .proto files", node),
    ])
}

fn daemon() -> Result<Daemon> {
    let mode = Mode::jail(Privilege::Root, Reach::Served);
    mode.available()?;
    Daemon::start(&Arc::new(Stage::set_up()?), mode, &[])
}

fn reflection() -> Result<()> {
    let python = state()
        .map(|state| state.join("venv-clients/bin/python3"))
        .filter(|python| python.exists());
    let python =
        python.ok_or_else(|| Skip::because("no virtual environment with grpcio: tests/run makes it"))?;
    let mut daemon = daemon()?;
    let mut command = process::command(python);
    command.arg(source("clients/reflection.py")).arg(daemon.address());
    let told = succeed(command)?;
    for line in [
        "brig.v1.ExecutionService",
        "brig.v1.FileService",
        "grpc.health.v1.Health",
        "output b'output 42\\n'",
        "'kind': 'VERDICT_KIND_EXITED'",
        "'code': 3",
        "same True",
        "unknown NOT_FOUND",
        "empty INVALID_ARGUMENT",
        "repeated True False True",
        "large ",
        "hostile path INVALID_ARGUMENT",
        "'status': 'SERVING'",
    ] {
        ensure!(told.contains(line), "no {line:?} in\n{told}");
    }
    for line in told
        .lines()
        .filter(|line| line.starts_with("download ") || line.starts_with("get "))
    {
        ensure!(
            line.ends_with("INVALID_ARGUMENT") || line.ends_with("NOT_FOUND"),
            "{line}"
        );
    }
    // The library in front of the service refuses it before the service is asked, with a status of its own.
    let large = told
        .lines()
        .find(|line| line.starts_with("large "))
        .unwrap_or_default();
    ensure!(
        ["RESOURCE_EXHAUSTED", "OUT_OF_RANGE"]
            .iter()
            .any(|code| large.ends_with(code)),
        "{large}"
    );
    let other = told
        .lines()
        .find(|line| line.starts_with("other body "))
        .unwrap_or_default();
    ensure!(
        ["ALREADY_EXISTS", "FAILED_PRECONDITION", "INVALID_ARGUMENT"]
            .iter()
            .any(|code| other.ends_with(code)),
        "{other}"
    );
    daemon.stop()
}

fn node() -> Result<()> {
    let modules = state()
        .map(|state| state.join("node/node_modules"))
        .filter(|modules| modules.exists());
    let modules = modules.ok_or_else(|| Skip::because("no node packages: tests/run installs them"))?;
    ensure!(has_program("node"), Skip::because("node is not installed"));
    let mut daemon = daemon()?;
    let mut command = process::command("node");
    command
        .arg(source("clients/second.js"))
        .arg(daemon.address())
        .arg(source("../proto"))
        .env("NODE_PATH", modules);
    let told = succeed(command)?;
    for line in [
        "stdout \"output 42\\n\"",
        "stderr [\"error\"]",
        "verdict VERDICT_KIND_EXITED 1",
        "exception ZeroDivisionError",
    ] {
        ensure!(told.contains(line), "no {line:?} in\n{told}");
    }
    daemon.stop()
}

fn succeed(command: Command) -> Result<String> {
    let done: Done = process::run(command, Vec::new(), PATIENCE)?;
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    ensure!(done.code() == 0, "exit {}:\n{told}", done.code());
    Ok(told)
}
