//! Deaths at chosen points.

use crate::{MODE, PATIENCE, Victim, client, died_completely, store, tell};
use anyhow::{Context, Result, ensure};
use brig_tests::assert::{Surroundings, nothing_is_left};
use brig_tests::daemon::Daemon;
use brig_tests::process::{self, wait_until};
use brig_tests::stage::Stage;
use brig_tests::suite::is_long;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The point, and the first commit that shows that it was passed.
const POINTS: [(&str, &str); 5] = [
    (
        "between accept and answer",
        "SELECT count(*) FROM idempotency WHERE key = 'KEY'",
    ),
    (
        "claimed, before its cell",
        "SELECT count(*) FROM jobs JOIN idempotency ON job = id WHERE key = 'KEY' AND state = 'running'",
    ),
    (
        "in its cell",
        "SELECT count(*) FROM events JOIN idempotency USING (job) WHERE key = 'KEY' AND kind = 'started'",
    ),
    (
        "at its first output",
        "SELECT count(*) FROM events JOIN idempotency USING (job) WHERE key = 'KEY' AND kind = 'stdout'",
    ),
    (
        "recorded, before its cell is gone",
        "SELECT count(*) FROM jobs JOIN idempotency ON job = id WHERE key = 'KEY' AND ended IS NOT NULL",
    ),
];

const CODE: &str = "import os, time; print('nonce', os.urandom(8).hex(), flush=True); time.sleep(0.2)";

pub(crate) fn of_a_job() -> Result<()> {
    MODE.available()?;
    let stage = Arc::new(Stage::set_up()?);
    let before = Surroundings::look(&stage.brig, MODE);
    let mut daemon = Daemon::start(&stage, MODE, &[])?;
    let mut accepted = Vec::new();
    for (index, (point, query)) in POINTS.iter().enumerate() {
        let victims = [Victim::Daemon, Victim::Keeper];
        let both = if is_long() { 2 } else { 1 };
        for victim in victims.into_iter().cycle().skip(index).take(both) {
            let job = one_point(&mut daemon, &format!("{index}-{victim:?}"), query, victim)
                .with_context(|| format!("{victim:?} killed: {point}"))?;
            accepted.push(job);
        }
    }
    store::wait_for_all(&daemon)?;
    daemon.stop()?;
    let found = store::check(&daemon.data(), &accepted)?;
    tell(&format!("{found}"));
    nothing_is_left(&stage.brig, MODE, &before)
}

/// The job that the key stands for, after a death at the moment that `query` describes.
fn one_point(daemon: &mut Daemon, key: &str, query: &str, victim: Victim) -> Result<String> {
    let killer = store::kill_when(&daemon.data(), victim.pid(daemon)?, &query.replace("KEY", key))?;
    let arguments = ["submit", "--json", "--key", key, "-c", CODE];
    let first = client(daemon, &arguments)?;
    let killer = killer.finish(PATIENCE)?;
    let moment: Value = serde_json::from_slice(&killer.stdout)?;
    ensure!(moment["after"].is_number(), "the point never came: {moment}");
    died_completely(daemon, CODE)?;
    daemon.start_again()?;
    let again = client(daemon, &arguments)?;
    let again: Value = serde_json::from_slice(&again.stdout)
        .with_context(|| String::from_utf8_lossy(&again.stderr).into_owned())?;
    ensure!(
        again["existing"] == true,
        "the first request is forgotten: {again}"
    );
    if first.code() == 0 {
        let first: Value = serde_json::from_slice(&first.stdout)?;
        ensure!(first["id"] == again["id"], "{first} and {again}");
    }
    let job = again["id"].as_str().context("no id")?.to_owned();
    let ended = wait_for_end(daemon, &job)?;
    let told = (ended["state"].as_str(), ended["verdict"]["kind"].as_str());
    let honest = [
        (Some("finished"), Some("exited")),
        (Some("failed"), Some("interrupted")),
    ];
    ensure!(honest.contains(&told), "{ended}");
    Ok(job)
}

fn wait_for_end(daemon: &Daemon, job: &str) -> Result<Value> {
    let mut record = Value::Null;
    let ended = wait_until(PATIENCE, || {
        let done = client(daemon, &["show", "--json", job]);
        record = done
            .ok()
            .and_then(|done| serde_json::from_slice(&done.stdout).ok())
            .unwrap_or_default();
        let state = record["state"].as_str().unwrap_or_default();
        ["finished", "failed", "cancelled"].contains(&state)
    });
    ensure!(ended, "{job} does not end: {record}");
    Ok(record)
}

/// The daemon is stopped before the program ends and killed after it: the keeper knows the end, nobody was told.
pub(crate) fn before_the_record() -> Result<()> {
    MODE.available()?;
    let stage = Arc::new(Stage::set_up()?);
    let mut daemon = Daemon::start(&stage, MODE, &[])?;
    let marker = format!("0.4{}", std::process::id());
    let submitted = client(&daemon, &["submit", "--", "sleep", &marker])?;
    let job = String::from_utf8_lossy(&submitted.stdout).trim().to_owned();
    let running = |wanted: bool| {
        wait_until(Duration::from_secs(20), || {
            brig_tests::assert::processes_with(&format!("sleep {marker}")).is_empty() != wanted
        })
    };
    ensure!(running(true), "it did not start");
    let pid = Pid::from_raw(i32::try_from(daemon.daemon()?)?);
    kill(pid, Signal::SIGSTOP)?;
    ensure!(running(false), "it does not end");
    kill(pid, Signal::SIGKILL)?;
    died_completely(&mut daemon, &marker)?;
    daemon.start_again()?;
    let record = wait_for_end(&daemon, &job)?;
    ensure!(
        record["state"] == "failed" && record["failure"]["retryable"] == true,
        "nobody can know how it ended: {record}"
    );
    daemon.stop()?;
    store::check(&daemon.data(), &[job]).map(|_found| ())
}

/// A job runs, one waits; the service dies and then dies at every stage of its way up.
pub(crate) fn while_starting() -> Result<()> {
    MODE.available()?;
    let stage = Arc::new(Stage::set_up()?);
    let before = Surroundings::look(&stage.brig, MODE);
    let mut daemon = Daemon::start(&stage, MODE, &["--max-concurrent", "1"])?;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let done = client(&daemon, &["submit", "-c", CODE])?;
        ensure!(done.code() == 0, "{}", String::from_utf8_lossy(&done.stderr));
        jobs.push(String::from_utf8_lossy(&done.stdout).trim().to_owned());
    }
    kill(Victim::Keeper.pid(&daemon)?, Signal::SIGKILL)?;
    died_completely(&mut daemon, CODE)?;
    let step = if is_long() { 5 } else { 20 };
    let mut deaths = 0;
    for delay in (0..).step_by(step).map(Duration::from_millis) {
        deaths += 1;
        if kill_while_starting(&daemon, delay)? == CameUp::Yes {
            break;
        }
        ensure!(delay < Duration::from_secs(20), "it is never ready");
    }
    daemon.start_again()?;
    store::wait_for_all(&daemon)?;
    daemon.stop()?;
    let found = store::check(&daemon.data(), &jobs)?;
    tell(&format!("{deaths} deaths on the way up; {found}"));
    nothing_is_left(&stage.brig, MODE, &before)
}

/// Whether it was ready when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CameUp {
    Yes,
    No,
}

/// Starts the service and kills its keeper after `delay`.
pub(crate) fn kill_while_starting(daemon: &Daemon, delay: Duration) -> Result<CameUp> {
    let running = process::start(daemon.serve_command(), Vec::new())?;
    // A message that never comes: finer than the looks of `wait_until`.
    let (_kept, never) = std::sync::mpsc::channel::<()>();
    never.recv_timeout(delay).ok();
    let was_alive = running.signal(Signal::SIGKILL).is_ok();
    let done = running.finish(PATIENCE)?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(
        was_alive && done.code() == 137,
        "it ended by itself: {} {said}",
        done.code()
    );
    Ok(if said.contains("ready, listening") {
        CameUp::Yes
    } else {
        CameUp::No
    })
}
