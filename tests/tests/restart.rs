//! A daemon that is stopped, started again, started twice, or loses a part of itself.

use anyhow::{Context, Result, ensure};
use brig_tests::assert::processes_with;
use brig_tests::daemon::Daemon;
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

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    run(vec![
        trial(
            "queued jobs survive a restart and run once, in order",
            queued_jobs,
        ),
        trial("SIGTERM lets running jobs end", drain),
        trial("SIGTERM just after it listens is a stop in order", stop_early),
        trial(
            "a second SIGTERM stops at once and says so in the record",
            stop_at_once,
        ),
        trial("a second daemon on the same data refuses to start", second_daemon),
        trial("when the daemon dies its keeper kills every cell", daemon_dies),
        trial("when the keeper dies its daemon ends too", keeper_dies),
        trial("a caller that goes away cancels its job", caller_leaves),
        trial("cancelling twice, late or nobody's job is answered", cancel),
        trial("a full queue refuses more and says when to try again", full_queue),
    ])
}

fn start(extra: &[&str]) -> Result<Daemon> {
    let mode = Mode::jail(Privilege::Root, Reach::Served);
    mode.available()?;
    Daemon::start(&Arc::new(Stage::set_up()?), mode, extra)
}

fn client(daemon: &Daemon, arguments: &[&str]) -> Result<Done> {
    process::run(daemon.client(arguments), Vec::new(), PATIENCE)
}

fn told(done: &Done) -> String {
    format!(
        "{}: {}{}",
        done.code(),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    )
}

/// Submits; the id of the job.
fn submit(daemon: &Daemon, what: &[&str]) -> Result<String> {
    let done = client(daemon, &[&["submit"], what].concat())?;
    ensure!(done.code() == 0, "submit: {}", told(&done));
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// The record of a job.
fn show(daemon: &Daemon, id: &str) -> Result<Value> {
    let done = client(daemon, &["show", "--json", id])?;
    serde_json::from_slice(&done.stdout).with_context(|| told(&done))
}

/// Waits until a job is in one of these states; its record.
fn wait_for(daemon: &Daemon, id: &str, states: &[&str]) -> Result<Value> {
    let mut last = Value::Null;
    wait_until(Duration::from_secs(30), || {
        last = show(daemon, id).unwrap_or_else(|error| Value::String(format!("{error:#}")));
        last["state"]
            .as_str()
            .is_some_and(|state| states.contains(&state))
    });
    let state = last["state"].as_str().unwrap_or_default();
    ensure!(states.contains(&state), "{id} is not {states:?}: {last}");
    Ok(last)
}

fn queued_jobs() -> Result<()> {
    let mut daemon = start(&["--max-concurrent", "1"])?;
    submit(&daemon, &["--", "sleep", "1"])?;
    let count = 12;
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(submit(&daemon, &["-c", &format!("print({number})")])?);
    }
    daemon.signal(Signal::SIGKILL)?;
    daemon.ended(PATIENCE)?;
    daemon.start_again()?;
    let mut starts = Vec::new();
    for id in &ids {
        let record = wait_for(&daemon, id, &["finished"])?;
        ensure!(record["verdict"]["kind"] == "exited", "{record}");
        let logs = client(&daemon, &["logs", id])?;
        let number = ids.iter().position(|other| other == id).context("its number")?;
        ensure!(
            logs.stdout == format!("{number}\n").into_bytes(),
            "ran twice or not: {}",
            told(&logs)
        );
        starts.push(record["start_time"].as_str().unwrap_or_default().to_owned());
    }
    ensure!(starts.is_sorted(), "the order is lost: {starts:?}");
    daemon.stop()
}

fn drain() -> Result<()> {
    let mut daemon = start(&[])?;
    let id = submit(
        &daemon,
        &["-c", "import time; time.sleep(2); print('to the end')"],
    )?;
    wait_for(&daemon, &id, &["running"])?;
    daemon.signal(Signal::SIGTERM)?;
    let (code, said) = daemon.ended(PATIENCE)?;
    ensure!(code == 0, "exit {code}: {said}");
    daemon.start_again()?;
    let record = wait_for(&daemon, &id, &["finished"])?;
    ensure!(record["verdict"]["kind"] == "exited", "{record}");
    daemon.stop()
}

fn stop_early() -> Result<()> {
    let mut daemon = start(&[])?;
    for _ in 0..5 {
        daemon.stop()?;
        daemon.start_again()?;
    }
    daemon.stop()
}

fn stop_at_once() -> Result<()> {
    let mut daemon = start(&[])?;
    let marker = format!("1001.{}", std::process::id());
    let id = submit(&daemon, &["--timeout", "60s", "--", "sleep", &marker])?;
    wait_for(&daemon, &id, &["running"])?;
    daemon.signal(Signal::SIGTERM)?;
    // The first one was heard when it takes no more jobs.
    wait_until(Duration::from_secs(5), || {
        client(&daemon, &["submit", "-c", "pass"]).is_ok_and(|done| done.code() != 0)
    });
    daemon.signal(Signal::SIGTERM)?;
    daemon.ended(Duration::from_secs(10))?;
    ensure!(
        wait_until(Duration::from_secs(5), || processes_with(&marker).is_empty()),
        "its job lives"
    );
    daemon.start_again()?;
    let record = wait_for(&daemon, &id, &["failed", "cancelled"])?;
    ensure!(record["verdict"]["kind"] == "interrupted", "{record}");
    daemon.stop()
}

fn second_daemon() -> Result<()> {
    let mut daemon = start(&[])?;
    let same_socket = process::run(daemon.serve_command(), Vec::new(), PATIENCE)?;
    ensure!(
        same_socket.code() >= 64,
        "it took the socket: {}",
        told(&same_socket)
    );
    let second = process::run(
        daemon.serve_on(&daemon.directory().join("second.sock")),
        Vec::new(),
        PATIENCE,
    )?;
    ensure!(
        second.code() >= 64 || second.code() == 2,
        "it started: {}",
        told(&second)
    );
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(
        said.contains(&daemon.data().display().to_string()),
        "it does not say why: {said}"
    );
    let still = client(&daemon, &["jobs"])?;
    ensure!(still.code() == 0, "the first one was disturbed: {}", told(&still));
    daemon.stop()
}

fn daemon_dies() -> Result<()> {
    let mut daemon = start(&[])?;
    let marker = format!("1002.{}", std::process::id());
    let id = submit(&daemon, &["--timeout", "60s", "--", "sleep", &marker])?;
    ensure!(
        wait_until(Duration::from_secs(20), || !processes_with(&marker).is_empty()),
        "it did not start"
    );
    let pid = Pid::from_raw(i32::try_from(daemon.daemon()?)?);
    kill(pid, Signal::SIGKILL)?;
    let (code, said) = daemon.ended(Duration::from_secs(10))?;
    ensure!(code != 0, "the keeper called this a success: {said}");
    ensure!(
        wait_until(Duration::from_secs(2), || processes_with(&marker).is_empty()),
        "its cell lives"
    );
    daemon.start_again()?;
    let record = wait_for(&daemon, &id, &["failed"])?;
    ensure!(record["verdict"]["kind"] == "interrupted", "{record}");
    ensure!(record["failure"]["retryable"] == true, "{record}");
    daemon.stop()
}

fn keeper_dies() -> Result<()> {
    let mut daemon = start(&[])?;
    let marker = format!("1003.{}", std::process::id());
    let id = submit(&daemon, &["--timeout", "60s", "--", "sleep", &marker])?;
    ensure!(
        wait_until(Duration::from_secs(20), || !processes_with(&marker).is_empty()),
        "it did not start"
    );
    let inner = daemon.daemon()?;
    daemon.signal(Signal::SIGKILL)?;
    daemon.ended(Duration::from_secs(10))?;
    let gone = |pid: u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    ensure!(
        wait_until(Duration::from_secs(10), || processes_with(&marker).is_empty()),
        "its cell lives"
    );
    ensure!(
        wait_until(Duration::from_secs(10), || gone(inner)),
        "the daemon outlived its keeper"
    );
    daemon.start_again()?;
    let record = wait_for(&daemon, &id, &["failed"])?;
    ensure!(record["verdict"]["kind"] == "interrupted", "{record}");
    daemon.stop()
}

fn caller_leaves() -> Result<()> {
    let mut daemon = start(&[])?;
    let marker = format!("1004.{}", std::process::id());
    let command = daemon.client(&["run", "--timeout", "60s", "--", "sleep", &marker]);
    let caller = process::start(command, Vec::new())?;
    ensure!(
        wait_until(Duration::from_secs(20), || !processes_with(&marker).is_empty()),
        "it did not start"
    );
    caller.signal(Signal::SIGKILL)?;
    ensure!(
        wait_until(Duration::from_secs(2), || processes_with(&marker).is_empty()),
        "the job goes on for nobody"
    );
    caller.finish(PATIENCE)?;
    daemon.stop()
}

fn cancel() -> Result<()> {
    let mut daemon = start(&["--max-concurrent", "1"])?;
    let running = submit(&daemon, &["--timeout", "60s", "--", "sleep", "50"])?;
    let queued = submit(&daemon, &["-c", "print('never')"])?;
    wait_for(&daemon, &running, &["running"])?;
    for id in [&queued, &queued, &running, &running] {
        let done = client(&daemon, &["cancel", id])?;
        ensure!(done.code() == 0, "cancel {id}: {}", told(&done));
    }
    for id in [&queued, &running] {
        let record = wait_for(&daemon, id, &["cancelled"])?;
        ensure!(record["verdict"]["kind"] == "cancelled", "{record}");
    }
    let unknown = client(&daemon, &["cancel", "01890a5d-ac96-774b-bcce-b302099a8057"])?;
    ensure!(
        unknown.code() != 0,
        "nobody's job was cancelled: {}",
        told(&unknown)
    );
    let finished = submit(&daemon, &["-c", "pass"])?;
    wait_for(&daemon, &finished, &["finished"])?;
    client(&daemon, &["cancel", &finished])?;
    wait_for(&daemon, &finished, &["finished"])?;
    daemon.stop()
}

fn full_queue() -> Result<()> {
    let config = tempfile::NamedTempFile::new()?;
    std::fs::write(config.path(), "max_queued = 3\n")?;
    let mut daemon = start(&[
        "--max-concurrent",
        "1",
        "--config",
        &config.path().display().to_string(),
    ])?;
    let mut refused = None;
    for _ in 0..8 {
        let done = client(&daemon, &["submit", "--", "sleep", "2"])?;
        if done.code() != 0 {
            refused = Some(told(&done));
            break;
        }
    }
    let refused = refused.context("eight jobs fitted into a queue of three")?;
    ensure!(refused.contains("queue"), "it does not say why: {refused}");
    daemon.stop()
}
