//! Trouble with the engine: it is killed, hangs, loses containers or images under the hands of Brig. A job then ends as
//! Brig's own failure with the engine's or the image's name and never as a verdict on the program, and nothing is left over.
//!
//! Every trial has an engine of its own (`tests/engine start trouble`): the machine's and the other tests' stay as they are.

use anyhow::{Context, Result, bail, ensure};
use brig_tests::assert::processes_with;
use brig_tests::cells::{Cells, docker_config, images};
use brig_tests::daemon::Daemon;
use brig_tests::engine::{Engine, OwnEngine};
use brig_tests::modes::Mode;
use brig_tests::process::{self, Done, wait_until};
use brig_tests::skip::Skip;
use brig_tests::stage::{Stage, state};
use brig_tests::suite::{is_long, run, trial};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const TERMINAL: &[&str] = &["finished", "failed", "cancelled"];

fn main() -> ExitCode {
    run(vec![
        trial(
            "a container removed by hand is an interrupted job",
            removed_by_hand,
        ),
        trial("spare containers removed by hand cost no job", spares_removed),
        trial("X-08 an engine killed in mid-job and back again", killed_once),
        trial(
            "an engine that hangs holds no job for longer than its limit",
            hangs,
        ),
        trial("X-10 an image that is missing or broken is named", images_missing),
        trial(
            "an engine killed again and again under load loses no job",
            killed_under_load,
        ),
    ])
}

/// A daemon with an engine of its own.
struct Service {
    daemon: Daemon,
    own: OwnEngine,
}

impl Service {
    fn start() -> Result<Self> {
        Self::start_on(&images())
    }

    fn start_on(images: &Path) -> Result<Self> {
        if !Cells::Docker.image_is_built() {
            return Err(Skip::because("the image python is not built: tests/run does it as root").into());
        }
        let own = OwnEngine::start("trouble")?;
        let images = images.display().to_string();
        let config = format!("images_dirs = [{images:?}]\n{}", docker_config(&own.engine));
        let stage = Arc::new(Stage::set_up()?);
        let daemon = Daemon::start_with(&stage, Mode::of_cells(Cells::Docker), &config)?;
        let service = Self { daemon, own };
        service.works_within(PATIENCE)?;
        Ok(service)
    }

    fn engine(&self) -> &Engine {
        &self.own.engine
    }

    fn client(&self, arguments: &[&str]) -> Result<Done> {
        process::run(self.daemon.client(arguments), Vec::new(), PATIENCE)
    }

    /// Submits to the engine; the id of the job.
    fn submit(&self, what: &[&str]) -> Result<String> {
        let done = self.client(&[&["submit", "--backend", "docker"], what].concat())?;
        ensure!(done.code() == 0, "submit: {}", told(&done));
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    fn show(&self, id: &str) -> Result<Value> {
        let done = self.client(&["show", "--json", id])?;
        serde_json::from_slice(&done.stdout).with_context(|| told(&done))
    }

    /// Waits for the end of a job; its record.
    fn ended(&self, id: &str, within: Duration) -> Result<Value> {
        let mut last = Value::Null;
        wait_until(within, || {
            last = self
                .show(id)
                .unwrap_or_else(|error| Value::String(format!("{error:#}")));
            is_terminal(&last)
        });
        ensure!(is_terminal(&last), "{id} has not ended after {within:?}: {last}");
        Ok(last)
    }

    /// Waits until a job runs that `marker` is an argument of.
    fn runs(&self, marker: &str) -> Result<u32> {
        let mut found = Vec::new();
        wait_until(Duration::from_secs(30), || {
            found = processes_with(marker);
            !found.is_empty()
        });
        found
            .first()
            .copied()
            .context("the program was never seen from outside")
    }

    /// Waits until a job ends as if nothing had been.
    fn works_within(&self, limit: Duration) -> Result<()> {
        let mut last = Value::Null;
        let works = wait_until(limit, || {
            let record = self
                .submit(&["-c", "print('works')"])
                .and_then(|id| self.ended(&id, PATIENCE));
            last = record.unwrap_or_else(|error| Value::String(format!("{error:#}")));
            last["verdict"]["kind"] == "exited"
        });
        ensure!(works, "no job works after {limit:?}: {last}");
        Ok(())
    }

    /// Stops the daemon in order; then there must be nothing of it on the engine or the host.
    fn leaves_nothing(mut self) -> Result<()> {
        self.daemon.stop()?;
        let mut left = (Vec::new(), Vec::new());
        let clean = wait_until(Duration::from_secs(20), || {
            let known = self.engine().cells();
            left = (
                known.unwrap_or_else(|error| vec![format!("{error:#}")]),
                groups_of(self.engine()),
            );
            left.0.is_empty() && left.1.is_empty()
        });
        ensure!(clean, "left: containers {:?}, groups {:?}", left.0, left.1);
        Ok(())
    }
}

fn told(done: &Done) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}: {}{}", done.code(), text(&done.stdout), text(&done.stderr))
}

fn is_terminal(record: &Value) -> bool {
    record["state"]
        .as_str()
        .is_some_and(|state| TERMINAL.contains(&state))
}

/// The groups of the engine's containers, in every tree.
fn groups_of(engine: &Engine) -> Vec<PathBuf> {
    let Some(name) = engine.groups() else {
        return Vec::new();
    };
    let trees = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let tops = trees
        .map(|tree| tree.path().join(&name))
        .chain([Path::new("/sys/fs/cgroup").join(&name)]);
    let below = tops.flat_map(|top| std::fs::read_dir(top).into_iter().flatten().flatten());
    below
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// A failure of Brig's that does not blame the program.
fn is_our_failure(record: &Value, kinds: &[&str]) -> Result<()> {
    let kind = record["verdict"]["kind"].as_str().unwrap_or_default();
    ensure!(
        record["state"] == "failed" && kinds.contains(&kind),
        "not {kinds:?}: {record}"
    );
    Ok(())
}

fn marker(what: &str) -> String {
    format!("600.{}{what}", std::process::id())
}

/// The container of a process of the host.
fn container_of(pid: u32) -> Result<String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let is_id = |name: &&str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups
        .split(['/', '\n'])
        .find(is_id)
        .map(str::to_owned)
        .context("it is in no container")
}

fn removed_by_hand() -> Result<()> {
    let service = Service::start()?;
    let marker = marker("1");
    let id = service.submit(&["--timeout", "120s", "--", "sleep", &marker])?;
    let container = container_of(service.runs(&marker)?)?;
    let before = Instant::now();
    service.engine().remove(&container)?;
    let record = service.ended(&id, PATIENCE)?;
    is_our_failure(&record, &["interrupted"])?;
    ensure!(
        before.elapsed() < Duration::from_secs(10),
        "noticed after {:?}",
        before.elapsed()
    );
    // The counterpart: a program that is killed from inside its cell is a verdict.
    let own = service.submit(&["--", "sh", "-c", "kill -9 $$"])?;
    let record = service.ended(&own, PATIENCE)?;
    ensure!(record["verdict"]["kind"] == "signalled", "{record}");
    service.works_within(PATIENCE)?;
    service.leaves_nothing()
}

fn spares_removed() -> Result<()> {
    let service = Service::start()?;
    let mut spares = Vec::new();
    wait_until(Duration::from_secs(20), || {
        spares = service.engine().cells().unwrap_or_default();
        !spares.is_empty()
    });
    ensure!(!spares.is_empty(), "there never was a spare container");
    for one in &spares {
        service.engine().remove(one)?;
    }
    for _ in 0..3 {
        let id = service.submit(&["-c", "print('next')"])?;
        let record = service.ended(&id, PATIENCE)?;
        ensure!(record["verdict"]["kind"] == "exited", "{record}");
    }
    service.leaves_nothing()
}

fn killed_once() -> Result<()> {
    let service = Service::start()?;
    becomes(&service, "SERVING")?;
    let marker = marker("2");
    let id = service.submit(&["--timeout", "120s", "--", "sleep", &marker])?;
    service.runs(&marker)?;
    kill(service.engine().pid()?, Signal::SIGKILL)?;
    let record = service.ended(&id, PATIENCE)?;
    is_our_failure(&record, &["interrupted"])?;
    // What is asked for meanwhile fails by the engine's name, and soon.
    let asked = Instant::now();
    let meanwhile = service.submit(&["-c", "print('meanwhile')"])?;
    let record = service.ended(&meanwhile, PATIENCE)?;
    is_our_failure(&record, &["setup_error", "interrupted"])?;
    ensure!(
        record.to_string().contains("engine"),
        "the engine is not named: {record}"
    );
    ensure!(
        asked.elapsed() < Duration::from_secs(30),
        "told after {:?}",
        asked.elapsed()
    );
    becomes(&service, "NOT_SERVING")?;
    service.own.start_again()?;
    service.works_within(PATIENCE)?;
    becomes(&service, "SERVING")?;
    ensure!(processes_with(&marker).is_empty(), "the program outlives its job");
    service.leaves_nothing()
}

/// What the health service says of the backend; nothing where there is no client.
fn health(service: &Service) -> Result<Option<String>> {
    let python = state().map(|state| state.join("venv-clients/bin/python"));
    let Some(python) = python.filter(|python| python.exists()) else {
        return Ok(None);
    };
    let mut command = process::command(python);
    command
        .arg(brig_tests::stage::source("clients/health.py"))
        .arg(service.daemon.address())
        .arg("brig.docker");
    let done = process::run(command, Vec::new(), PATIENCE)?;
    ensure!(done.code() == 0, "{}", told(&done));
    Ok(Some(String::from_utf8_lossy(&done.stdout).trim().to_owned()))
}

fn becomes(service: &Service, wanted: &str) -> Result<()> {
    let mut last = None;
    let so = wait_until(Duration::from_secs(30), || {
        last = health(service).ok().flatten();
        last.as_deref().is_none_or(|status| status == wanted)
    });
    ensure!(so, "health is {last:?} instead of {wanted}");
    Ok(())
}

fn hangs() -> Result<()> {
    let service = Service::start()?;
    let marker = marker("3");
    let id = service.submit(&["--timeout", "4s", "--", "sleep", &marker])?;
    service.runs(&marker)?;
    let engine = service.engine().pid()?;
    kill(engine, Signal::SIGSTOP)?;
    let stopped = Instant::now();
    let outcome = while_it_hangs(&service, &id, &marker, stopped);
    kill(engine, Signal::SIGCONT)?;
    outcome?;
    service.works_within(PATIENCE)?;
    service.leaves_nothing()
}

fn while_it_hangs(service: &Service, id: &str, marker: &str, stopped: Instant) -> Result<()> {
    let gone = wait_until(Duration::from_secs(10), || processes_with(marker).is_empty());
    ensure!(gone, "the program outlives its limit while the engine hangs");
    let lived = stopped.elapsed();
    ensure!(
        lived < Duration::from_secs(7),
        "it lived for {lived:?} with a limit of 4 s"
    );
    let record = service.ended(id, PATIENCE)?;
    let kind = record["verdict"]["kind"].as_str().unwrap_or_default();
    ensure!(["timed_out", "interrupted"].contains(&kind), "{record}");
    let asked = Instant::now();
    let meanwhile = service.submit(&["-c", "print('meanwhile')"])?;
    let record = service.ended(&meanwhile, Duration::from_secs(90))?;
    is_our_failure(&record, &["setup_error", "interrupted"])?;
    ensure!(
        asked.elapsed() < Duration::from_secs(45),
        "told after {:?}",
        asked.elapsed()
    );
    // The jail does not need the engine.
    let done = service.client(&[
        "run",
        "-c",
        "print('beside')",
        "--address",
        &service.daemon.address(),
    ])?;
    ensure!(done.code() == 0, "the jail suffers, too: {}", told(&done));
    Ok(())
}

fn images_missing() -> Result<()> {
    let copy = tempfile::tempdir()?;
    let mut command = process::command("cp");
    command
        .arg("-a")
        .arg("--reflink=auto")
        .arg(images().join("."))
        .arg(copy.path());
    if !Cells::Docker.image_is_built() {
        return Err(Skip::because("the image python is not built: tests/run does it as root").into());
    }
    let done = process::run(command, Vec::new(), Duration::from_secs(120))?;
    ensure!(done.code() == 0, "{}", told(&done));
    let service = Service::start_on(copy.path())?;
    let done = service.client(&["run", "--backend", "docker", "--image", "nosuch", "-c", "1"])?;
    ensure!(done.code() == 2 || done.code() == 125, "{}", told(&done));
    for word in ["nosuch", "python"] {
        ensure!(told(&done).contains(word), "{word} is not named: {}", told(&done));
    }
    // A root that lost its interpreter, under another digest's name: made by hand, as a disk that fails would.
    for root in std::fs::read_dir(copy.path().join("roots"))?
        .flatten()
        .filter(|entry| entry.path().is_dir())
    {
        std::fs::remove_dir_all(root.path())?;
    }
    for (backend, image) in [("docker", "python-data"), ("jail", "python")] {
        let done = service.client(&["run", "--json", "--backend", backend, "--image", image, "-c", "1"])?;
        let text = told(&done);
        if !copy.path().join("names").join(format!("{image}.json")).exists() {
            continue;
        }
        ensure!(done.code() == 125 || done.code() == 2, "{backend}: {text}");
        ensure!(text.contains(image), "{backend}: the image is not named: {text}");
        ensure!(!text.contains("\"exited\""), "{backend}: it ran: {text}");
    }
    service.leaves_nothing()
}

/// A generator that needs no crate: which moment is as good as another.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

const LOAD: &[&[&str]] = &[
    &["-c", "print('short')"],
    &["--", "sleep", "0.7"],
    &[
        "-c",
        "import time\nfor n in range(20): print(n, flush=True); time.sleep(0.05)",
    ],
    &["--timeout", "2s", "-c", "while True: pass"],
    &["-c", "print('x' * 300000)"],
    &["--memory", "320MiB", "-c", "print('another shape')"],
];

/// Waits for `time` to pass: the load goes on meanwhile.
fn load_for(service: &Service, time: Duration, ids: &mut Vec<String>) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let what = LOAD[ids.len() % LOAD.len()];
        ids.push(service.submit(what)?);
    }
    Ok(())
}

fn killed_under_load() -> Result<()> {
    let service = Service::start()?;
    let kills = if is_long() { 20 } else { 5 };
    let mut dice = Dice(u64::from(std::process::id()));
    let mut ids = Vec::new();
    for _ in 0..kills {
        // So that jobs really run when it happens: the broker looks for an engine that was away with growing patience.
        service.works_within(PATIENCE)?;
        // A backlog that never ends would make the test one of the queue.
        load_for(&service, Duration::from_millis(300 + dice.below(900)), &mut ids)?;
        kill(service.engine().pid()?, Signal::SIGKILL)?;
        load_for(&service, Duration::from_millis(dice.below(600)), &mut ids)?;
        service.own.start_again()?;
        wait_for_the_queue(&service, &ids, 30)?;
    }
    let mut kinds = BTreeMap::<String, u32>::new();
    let mut records = BTreeMap::new();
    for id in &ids {
        let record = service.ended(id, Duration::from_secs(120))?;
        let kind = record["verdict"]["kind"].as_str().unwrap_or("none").to_owned();
        // What is no fault of the engine's is what the load does by itself.
        let expected = ["exited", "timed_out", "interrupted", "setup_error"];
        ensure!(expected.contains(&kind.as_str()), "{id}: {record}");
        ensure!(
            kind != "exited" || record["verdict"]["code"] == 0,
            "{id}: {record}"
        );
        *kinds.entry(kind).or_default() += 1;
        records.insert(id.clone(), record);
    }
    service.works_within(PATIENCE)?;
    for (id, record) in &records {
        let again = service.show(id)?;
        ensure!(
            again["verdict"] == record["verdict"],
            "{id} ended twice: {record}, then {again}"
        );
    }
    tell(&format!(
        "{} jobs, {kills} kills of the engine: {kinds:?}",
        ids.len()
    ));
    for kind in ["exited", "interrupted"] {
        ensure!(kinds.contains_key(kind), "no job ever was {kind}: {kinds:?}");
    }
    service.leaves_nothing()
}

/// Lets the queue shrink to `most`, so that jobs really run at the next kill.
fn wait_for_the_queue(service: &Service, ids: &[String], most: usize) -> Result<()> {
    let recent: Vec<&String> = ids.iter().rev().take(200).collect();
    let shrunk = wait_until(PATIENCE, || {
        let open = recent
            .iter()
            .filter(|id| !service.show(id).is_ok_and(|record| is_terminal(&record)));
        open.count() <= most
    });
    if !shrunk {
        bail!("the queue does not shrink");
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "figures for whoever runs it")]
fn tell(line: &str) {
    eprintln!("{line}");
}
