//! Jobs in containers of a real engine, from the command line to the record: of one command and of a service, and what is
//! left of them when one of Brig's processes is killed under them.

use anyhow::{Context, Result, ensure};
use brig_tests::assert::processes_with;
use brig_tests::cells::{Cells, images};
use brig_tests::daemon::Daemon;
use brig_tests::engine::Engine;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, Done, wait_until};
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    run(vec![
        trial(
            "one command runs a job in a container without a configuration",
            one_command,
        ),
        trial("exit codes are those of the jail", exit_codes),
        trial("files go in and come out", files),
        trial("a service runs jobs in both of its backends", both_backends),
        trial(
            "an unknown backend or image is refused with the choices",
            unknown_names,
        ),
        trial(
            "a broker that is killed interrupts its jobs and nothing else",
            broker_killed,
        ),
        trial(
            "a daemon that is killed leaves no container, and its job is recorded",
            daemon_killed,
        ),
        trial(
            "a keeper that is killed leaves no container, and its job is recorded",
            keeper_killed,
        ),
        trial("Ctrl-C of one command leaves no container", interrupted),
    ])
}

const EMBEDDED: Mode = Mode::jail(Privilege::Root, Reach::Embedded);

fn told(done: &Done) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}: {}{}", done.code(), text(&done.stdout), text(&done.stderr))
}

/// One command of root, with the images of the tests and nothing else configured.
fn command(arguments: &[&str]) -> Result<(std::process::Command, tempfile::TempDir, Stage)> {
    EMBEDDED.available()?;
    Cells::Docker.available()?;
    let engine = Engine::of_the_tests()?;
    let stage = Stage::set_up()?;
    let directory = stage.directory(EMBEDDED)?;
    let config = directory.path().join("images.toml");
    std::fs::write(
        &config,
        format!("images_dirs = [{:?}]\n", images().display().to_string()),
    )?;
    let mut command = EMBEDDED.command(&stage.brig);
    command
        .args(arguments)
        .current_dir(directory.path())
        .env("HOME", directory.path());
    command.env("BRIG_CONFIG", config);
    command.env("DOCKER_HOST", format!("unix://{}", engine.socket().display()));
    Ok((command, directory, stage))
}

fn embedded(arguments: &[&str]) -> Result<Done> {
    let (command, _directory, _stage) = command(arguments)?;
    process::run(command, Vec::new(), PATIENCE)
}

fn nothing_is_left() -> Result<()> {
    let engine = Engine::of_the_tests()?;
    let mut left = Vec::new();
    let clean = wait_until(SOON, || {
        left = engine.cells().unwrap_or_else(|error| vec![format!("{error:#}")]);
        left.is_empty()
    });
    ensure!(clean, "containers are left: {left:?}");
    Ok(())
}

fn one_command() -> Result<()> {
    let done = embedded(&[
        "run",
        "--embedded",
        "--backend",
        "docker",
        "--json",
        "-c",
        "print(6 * 7)",
    ])?;
    let report: Value = serde_json::from_slice(&done.stdout).with_context(|| told(&done))?;
    ensure!(done.code() == 0, "{}", told(&done));
    ensure!(report["verdict"]["kind"] == "exited", "{report}");
    let receipt = &report["receipt"];
    ensure!(receipt["backend"] == "docker", "{receipt}");
    ensure!(
        receipt["image"]
            .as_str()
            .is_some_and(|image| image.starts_with("python")),
        "{receipt}"
    );
    ensure!(receipt.to_string().contains("unreported"), "{receipt}");
    nothing_is_left()
}

fn exit_codes() -> Result<()> {
    for (code, program) in [
        (7, "raise SystemExit(7)"),
        (1, "1 / 0"),
        (143, "import os; os.kill(os.getpid(), 15)"),
    ] {
        let done = embedded(&["run", "--embedded", "--backend", "docker", "-c", program])?;
        ensure!(done.code() == code, "{program}: {}", told(&done));
    }
    let slow = [
        "run",
        "--embedded",
        "--backend",
        "docker",
        "--timeout",
        "1s",
        "-c",
        "while True: pass",
    ];
    let done = embedded(&slow)?;
    ensure!(done.code() == 124, "{}", told(&done));
    nothing_is_left()
}

fn files() -> Result<()> {
    let copy = "open('out.txt', 'w').write(open('in.txt').read().upper())";
    let arguments = [
        "run",
        "--embedded",
        "--backend",
        "docker",
        "--in",
        "in.txt",
        "--out",
        "out.txt",
        "-c",
        copy,
    ];
    let (command, directory, _stage) = command(&arguments)?;
    std::fs::write(directory.path().join("in.txt"), "from outside")?;
    let done = process::run(command, Vec::new(), PATIENCE)?;
    ensure!(done.code() == 0, "{}", told(&done));
    let written = std::fs::read_to_string(directory.path().join("out.txt"))?;
    ensure!(written == "FROM OUTSIDE", "{written}");
    nothing_is_left()
}

/// A service with the engine of the tests.
struct Service {
    daemon: Daemon,
}

impl Service {
    fn start() -> Result<Self> {
        let mode = Mode::of_cells(Cells::Docker);
        mode.available()?;
        let stage = Arc::new(Stage::set_up()?);
        let daemon = Daemon::start_with(&stage, mode, &Cells::Docker.config("lease = \"6s\"\n")?)?;
        Ok(Self { daemon })
    }

    fn client(&self, arguments: &[&str]) -> Result<Done> {
        process::run(self.daemon.client(arguments), Vec::new(), PATIENCE)
    }

    fn submit(&self, what: &[&str]) -> Result<String> {
        let done = self.client(&[&["submit", "--backend", "docker"], what].concat())?;
        ensure!(done.code() == 0, "{}", told(&done));
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    /// Waits for the end of a job; its record.
    fn ended(&self, id: &str) -> Result<Value> {
        let mut last = Value::Null;
        let ended = wait_until(PATIENCE, || {
            let done = self.client(&["show", "--json", id]).ok();
            last = done
                .and_then(|done| serde_json::from_slice(&done.stdout).ok())
                .unwrap_or_default();
            matches!(last["state"].as_str(), Some("finished" | "failed" | "cancelled"))
        });
        ensure!(ended, "{id} has not ended: {last}");
        Ok(last)
    }

    /// A job that runs, seen from outside.
    fn sleeper(&self, marker: &str) -> Result<String> {
        let id = self.submit(&["--", "python3", "-c", "import time; time.sleep(60)", marker])?;
        let runs = wait_until(SOON, || !processes_with(marker).is_empty());
        if !runs {
            let record = self.client(&["show", "--json", &id])?;
            anyhow::bail!("the program was never seen from outside: {}", told(&record));
        }
        Ok(id)
    }

    fn child(&self, word: &str) -> Result<u32> {
        let keeper = self.daemon.keeper()?;
        let found = children(keeper).into_iter().find(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|arguments| String::from_utf8_lossy(&arguments).contains(word))
        });
        found.with_context(|| format!("the keeper has no {word}"))
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn kill_9(pid: u32) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?)
}

fn both_backends() -> Result<()> {
    let mut service = Service::start()?;
    for (backend, image) in [("jail", "host"), ("docker", "python")] {
        let done = service.client(&["run", "--backend", backend, "--json", "-c", "print(6 * 7)"])?;
        let report: Value = serde_json::from_slice(&done.stdout).with_context(|| told(&done))?;
        ensure!(report["receipt"]["backend"] == backend, "{report}");
        ensure!(
            report["receipt"]["image"]
                .as_str()
                .is_some_and(|name| name.starts_with(image)),
            "{report}"
        );
    }
    let done = service.client(&["doctor", "--json"])?;
    let info: Value = serde_json::from_slice(&done.stdout).with_context(|| told(&done))?;
    let names: Vec<&str> = info["backends"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|backend| backend["name"].as_str())
        .collect();
    ensure!(names == ["jail", "docker", "gvisor"], "{info}");
    service.daemon.stop()?;
    nothing_is_left()
}

fn unknown_names() -> Result<()> {
    let mut service = Service::start()?;
    for (arguments, words) in [
        (["--backend", "podman"], ["--backend", "jail, docker, gvisor"]),
        (["--image", "no-such"], ["--image", "brig image build"]),
    ] {
        let done = service.client(&["run", arguments[0], arguments[1], "-c", "1"])?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.code() == 2 && words.iter().all(|word| said.contains(word)),
            "{}",
            told(&done)
        );
    }
    service.daemon.stop()
}

fn broker_killed() -> Result<()> {
    let mut service = Service::start()?;
    let id = service.sleeper("marks-a-job-of-a-dead-broker")?;
    let watcher = service.child("__broker")?;
    let worker = *children(watcher).first().context("the broker has no worker")?;
    kill_9(worker)?;
    let record = service.ended(&id)?;
    ensure!(
        record["state"] == "failed" && record.to_string().contains("interrupted"),
        "{record}"
    );
    // The jail never noticed, and the engine's jobs run again.
    let done = service.client(&["run", "-c", "print(6 * 7)"])?;
    ensure!(done.stdout == b"42\n", "{}", told(&done));
    let again = service.submit(&["-c", "print('again')"])?;
    let record = service.ended(&again)?;
    ensure!(record["verdict"]["kind"] == "exited", "{record}");
    let gone = wait_until(SOON, || processes_with("marks-a-job-of-a-dead-broker").is_empty());
    ensure!(gone, "the program of the dead broker's job lives on");
    service.daemon.stop()?;
    nothing_is_left()
}

fn daemon_killed() -> Result<()> {
    killed_under_a_job("marks-a-job-of-a-dead-daemon", |service| {
        service.child("__daemon")
    })
}

fn keeper_killed() -> Result<()> {
    killed_under_a_job("marks-a-job-of-a-dead-keeper", |service| service.daemon.keeper())
}

fn killed_under_a_job(marker: &str, victim: impl FnOnce(&Service) -> Result<u32>) -> Result<()> {
    let mut service = Service::start()?;
    let id = service.sleeper(marker)?;
    kill_9(victim(&service)?)?;
    let (code, said) = service.daemon.ended(PATIENCE)?;
    ensure!(code != 0, "exit 0: {said}");
    ensure!(
        wait_until(SOON, || processes_with(marker).is_empty()),
        "the program lives on"
    );
    nothing_is_left()?;
    service.daemon.start_again()?;
    let record = service.ended(&id)?;
    ensure!(
        record["state"] == "failed" && record.to_string().contains("interrupted"),
        "{record}"
    );
    service.daemon.stop()?;
    nothing_is_left()
}

fn interrupted() -> Result<()> {
    let marker = "marks-a-job-that-ctrl-c-ends";
    let arguments = [
        "run",
        "--embedded",
        "--backend",
        "docker",
        "--",
        "python3",
        "-c",
        "import time; time.sleep(60)",
        marker,
    ];
    let (command, _directory, _stage) = command(&arguments)?;
    let running = process::start(command, Vec::new())?;
    let runs = wait_until(SOON, || {
        processes_with(marker).iter().any(|pid| is_in_a_container(*pid))
    });
    running.signal(Signal::SIGINT)?;
    let done = running.finish(PATIENCE)?;
    ensure!(runs, "the program was never seen from outside: {}", told(&done));
    ensure!(done.code() == 130, "{}", told(&done));
    nothing_is_left()
}

fn is_in_a_container(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t10001")))
}
