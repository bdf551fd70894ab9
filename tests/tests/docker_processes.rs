//! The processes around a container engine: who may open its socket, who notices whose death, and what a person is told
//! where something is missing. The engine is a scripted one: no container is made here.

use anyhow::{Context, Result, ensure};
use brig_tests::assert::field;
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, Done, wait_until};
use brig_tests::scripted_engine::{Script, ScriptedEngine};
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
/// CAP_KILL.
const KILL: u64 = 1 << 5;

fn main() -> ExitCode {
    run(vec![
        trial(
            "only the broker opens the engine's socket, and it is confined",
            only_the_broker,
        ),
        trial(
            "a broker that is killed is started again, and the jail goes on",
            broker_killed,
        ),
        trial(
            "whoever of the keeper and the daemon dies, the broker ends too",
            others_killed,
        ),
        trial("a stop in order leaves no process of the broker", stopped),
        trial(
            "a service whose engine is missing serves the jail and says what is missing",
            engine_missing,
        ),
        trial(
            "without an engine, or the right to open it, a command says what to do",
            cannot_open,
        ),
        trial(
            "an image that is not built is named with the command that builds it",
            image_missing,
        ),
        trial(
            "doctor finds an engine that is too old and a runtime that is not there",
            doctor,
        ),
        trial(
            "a mistake in the section docker is a wrong configuration",
            bad_config,
        ),
    ])
}

const ROOT: Mode = Mode::jail(Privilege::Root, Reach::Served);

/// A daemon with a scripted engine.
struct Service {
    daemon: Daemon,
    engine: ScriptedEngine,
    _directory: tempfile::TempDir,
}

impl Service {
    fn start() -> Result<Self> {
        ROOT.available()?;
        let stage = Arc::new(Stage::set_up()?);
        let directory = stage.directory(ROOT)?;
        let engine = ScriptedEngine::start(directory.path(), Script::default())?;
        let option = format!("--docker={}", engine.socket().display());
        let daemon = Daemon::start(&stage, ROOT, &[&option])?;
        Ok(Self {
            daemon,
            engine,
            _directory: directory,
        })
    }

    /// The broker's processes: the one that watches, and its worker.
    fn broker(&self) -> Result<(u32, u32)> {
        let keeper = self.daemon.keeper()?;
        let mut found = None;
        wait_until(SOON, || {
            found = children(keeper)
                .into_iter()
                .find(|pid| is_broker(*pid))
                .and_then(|watcher| children(watcher).first().map(|worker| (watcher, *worker)));
            found.is_some()
        });
        found.context("the keeper has no broker with a worker")
    }

    fn runs_in_the_jail(&self) -> Result<()> {
        let done = process::run(
            self.daemon.client(&["run", "-c", "print(6 * 7)"]),
            Vec::new(),
            PATIENCE,
        )?;
        ensure!(done.stdout == b"42\n", "{}", told(&done));
        Ok(())
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn is_broker(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|arguments| String::from_utf8_lossy(&arguments).contains("__broker"))
}

fn is_gone(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Dead and not yet reaped counts: nothing of it runs.
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

fn kill_9(pid: u32) -> Result<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?)
}

fn told(done: &Done) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}: {}{}", done.code(), text(&done.stdout), text(&done.stderr))
}

fn only_the_broker() -> Result<()> {
    let mut service = Service::start()?;
    let (watcher, worker) = service.broker()?;
    ensure!(
        wait_until(SOON, || !service.engine.visitors().is_empty()),
        "nobody came to the engine"
    );
    service.runs_in_the_jail()?;
    let visitors = service.engine.visitors();
    ensure!(
        visitors.iter().all(|pid| u32::try_from(*pid) == Ok(worker)),
        "{visitors:?} came to the engine, the broker's worker is {worker}"
    );
    for pid in [watcher, worker] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let value = |name| field(&status, name).map(str::trim).unwrap_or_default();
        ensure!(
            value("NoNewPrivs:") == "1" && value("Seccomp:") == "2",
            "{status}"
        );
        for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapInh:", "CapAmb:"] {
            let held = u64::from_str_radix(value(set), 16).unwrap_or(u64::MAX);
            ensure!(held & !KILL == 0, "{set} {held:x} of the broker");
        }
        // Not dumpable: what is in /proc belongs to root, also where the broker is somebody else.
        ensure!(value("CoreDumping:") != "1", "{status}");
    }
    service.daemon.stop()
}

fn broker_killed() -> Result<()> {
    let mut service = Service::start()?;
    let (watcher, first) = service.broker()?;
    kill_9(first)?;
    let mut now = None;
    ensure!(
        wait_until(SOON, || {
            now = service.broker().ok();
            now.is_some_and(|(_, worker)| worker != first)
        }),
        "no other worker: {now:?}, the first was {first}"
    );
    ensure!(now.is_some_and(|(same, _)| same == watcher), "{now:?}");
    service.runs_in_the_jail()?;
    let worker = now.context("no worker")?.1;
    ensure!(
        wait_until(SOON, || service
            .engine
            .visitors()
            .contains(&i32::try_from(worker).unwrap_or(0))),
        "the second worker does not use the engine"
    );
    // Without its watcher a worker goes on; nobody comes after it.
    kill_9(watcher)?;
    service.runs_in_the_jail()?;
    ensure!(!is_gone(worker), "the worker died with its watcher");
    service.daemon.stop()?;
    ensure!(
        wait_until(SOON, || is_gone(worker)),
        "the worker outlives its daemon"
    );
    Ok(())
}

fn others_killed() -> Result<()> {
    for whom in ["daemon", "keeper"] {
        let mut service = Service::start()?;
        let (watcher, worker) = service.broker()?;
        let daemon = service.daemon.daemon()?;
        kill_9(if whom == "daemon" {
            daemon
        } else {
            service.daemon.keeper()?
        })?;
        let (code, said) = service.daemon.ended(PATIENCE)?;
        ensure!(code != 0, "{whom}: exit 0, {said}");
        for (name, pid) in [("daemon", daemon), ("watcher", watcher), ("worker", worker)] {
            ensure!(
                wait_until(SOON, || is_gone(pid)),
                "the {name} outlives the {whom}"
            );
        }
    }
    Ok(())
}

fn stopped() -> Result<()> {
    let mut service = Service::start()?;
    let (watcher, worker) = service.broker()?;
    // A service manager may send it to everybody: who has to drain decides.
    for pid in [watcher, worker] {
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    }
    service.runs_in_the_jail()?;
    ensure!(
        !is_gone(watcher) && !is_gone(worker),
        "SIGTERM ended the broker before its daemon"
    );
    service.daemon.stop()?;
    ensure!(
        is_gone(watcher) && is_gone(worker),
        "the keeper did not wait for its broker"
    );
    Ok(())
}

fn engine_missing() -> Result<()> {
    ROOT.available()?;
    let stage = Arc::new(Stage::set_up()?);
    let mut daemon = Daemon::start(&stage, ROOT, &["--docker=/nonexistent/engine.sock"])?;
    let done = process::run(
        daemon.client(&["run", "-c", "print(6 * 7)"]),
        Vec::new(),
        PATIENCE,
    )?;
    ensure!(done.stdout == b"42\n", "{}", told(&done));
    let mut last = Value::Null;
    let named = wait_until(SOON, || {
        let done = process::run(daemon.client(&["doctor", "--json"]), Vec::new(), PATIENCE);
        last = done
            .ok()
            .and_then(|done| serde_json::from_slice(&done.stdout).ok())
            .unwrap_or_default();
        let docker = &last["backends"][1];
        docker["name"] == "docker"
            && docker["problem"]
                .as_str()
                .is_some_and(|text| text.contains("/nonexistent/engine.sock"))
    });
    ensure!(named, "doctor does not name the engine's trouble: {last}");
    let done = process::run(daemon.client(&["doctor"]), Vec::new(), PATIENCE)?;
    ensure!(done.code() == 1, "{}", told(&done));
    daemon.stop()
}

/// `brig` as this mode's user, without a daemon.
fn embedded(mode: Mode, engine: &Path, arguments: &[&str]) -> Result<Done> {
    mode.available()?;
    let stage = Stage::set_up()?;
    let directory = stage.directory(mode)?;
    let mut command = mode.command(&stage.brig);
    command
        .args(arguments)
        .current_dir(directory.path())
        .env("HOME", directory.path());
    command.env("DOCKER_HOST", format!("unix://{}", engine.display()));
    process::run(command, Vec::new(), PATIENCE)
}

fn says(done: &Done, code: i32, words: &[&str]) -> Result<()> {
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.code() == code, "exit {code} was wanted: {}", told(done));
    for word in words {
        ensure!(said.contains(word), "{word:?} is missing: {said}");
    }
    Ok(())
}

const RUN: &[&str] = &["run", "--embedded", "--backend", "docker", "-c", "1"];

fn cannot_open() -> Result<()> {
    let root = Mode::jail(Privilege::Root, Reach::Embedded);
    let absent = embedded(root, Path::new("/nonexistent/engine.sock"), RUN)?;
    says(
        &absent,
        125,
        &["/nonexistent/engine.sock", "apt install docker.io"],
    )?;
    let directory = tempfile::tempdir()?;
    // A socket without a listener is what a dead engine leaves.
    let dead = directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead)?);
    says(
        &embedded(root, &dead, RUN)?,
        125,
        &["dead.sock", "systemctl start docker"],
    )?;
    let unknown = embedded(
        root,
        &dead,
        &["run", "--embedded", "--backend", "kata", "-c", "1"],
    )?;
    says(&unknown, 2, &["kata", "jail, docker", "[docker.backends.kata]"])?;
    let bare = Mode::jail(Privilege::Bare, Reach::Embedded);
    bare.available()?;
    let engine = ScriptedEngine::start(directory.path(), Script::default())?;
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(engine.socket(), closed)?;
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open)?;
    says(
        &embedded(bare, engine.socket(), RUN)?,
        125,
        &["may not open", "usermod -aG docker"],
    )
}

fn image_missing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let engine = ScriptedEngine::start(directory.path(), Script::default())?;
    let root = Mode::jail(Privilege::Root, Reach::Embedded);
    let wanted = [
        "run",
        "--embedded",
        "--backend",
        "docker",
        "--image",
        "no-such",
        "-c",
        "1",
    ];
    says(
        &embedded(root, engine.socket(), &wanted)?,
        2,
        &["--image", "no-such", "brig image build"],
    )
}

fn doctor() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let script = Script {
        api: "1.40".to_owned(),
        runtimes: vec!["crun".to_owned()],
    };
    let engine = ScriptedEngine::start(directory.path(), script)?;
    let root = Mode::jail(Privilege::Root, Reach::Embedded);
    let done = embedded(root, engine.socket(), &["doctor", "--json"])?;
    let said: Value = serde_json::from_slice(&done.stdout).with_context(|| told(&done))?;
    ensure!(said["engine"]["works"] == false, "{said}");
    let findings = said["engine"]["findings"].as_array().context("no findings")?;
    for (what, word) in [("engine", "1.41"), ("runtime", "docker.runtime")] {
        let found = findings
            .iter()
            .find(|one| one["what"] == what && one["state"] == "trouble");
        let remedy = found.and_then(|one| one["remedy"].as_str()).unwrap_or_default();
        ensure!(remedy.contains(word), "{what}: {said}");
    }
    // Nobody configured it: for the jail all is well.
    ensure!(done.code() == 0, "{}", told(&done));
    Ok(())
}

fn bad_config() -> Result<()> {
    ROOT.available()?;
    let stage = Arc::new(Stage::set_up()?);
    let directory = stage.directory(ROOT)?;
    let path = directory.path().join("brig.toml");
    std::fs::write(&path, "[docker]\nimage = \"host\"\n")?;
    let mut command = ROOT.command(&stage.brig);
    command
        .arg("serve")
        .arg("--config")
        .arg(&path)
        .arg("--data")
        .arg(directory.path().join("data"));
    let done = process::run(command, Vec::new(), PATIENCE)?;
    says(&done, 64, &["docker.image", "for the jail alone"])
}
