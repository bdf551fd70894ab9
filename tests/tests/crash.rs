//! `kill -9` of the daemon under load, again and again: no accepted job is lost, none ends twice, nothing is
//! left behind.

use anyhow::{Context, Result, ensure};
use brig_tests::assert::{Surroundings, processes_with};
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, wait_until};
use brig_tests::stage::Stage;
use brig_tests::suite::{is_long, run, trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    run(vec![
        trial("killing the whole service under load loses nothing", || {
            under_load(Victim::Keeper)
        }),
        trial("killing the daemon process under load loses nothing", || {
            under_load(Victim::Daemon)
        }),
    ])
}

/// Which process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Keeper,
    Daemon,
}

fn under_load(victim: Victim) -> Result<()> {
    let mode = Mode {
        privilege: Privilege::Root,
        reach: Reach::Served,
    };
    mode.available()?;
    let stage = Arc::new(Stage::set_up()?);
    let before = Surroundings::look(&stage.brig, mode);
    let mut daemon = Daemon::start(&stage, mode, &[])?;
    let marker = format!("brig-crash-{}", std::process::id());
    let accepted: Mutex<BTreeMap<String, u32>> = Mutex::default();
    let rounds = if is_long() { 60 } else { 6 };
    for round in 0..rounds {
        let span = Duration::from_millis(700 + 130 * (round % 7));
        let pid = if victim == Victim::Keeper {
            daemon.keeper()?
        } else {
            daemon.daemon()?
        };
        load_and_kill(
            &Load {
                daemon: &daemon,
                accepted: &accepted,
                marker: &marker,
            },
            span,
            pid,
        )?;
        daemon.ended(PATIENCE).context("it does not end")?;
        let gone = wait_until(Duration::from_secs(10), || processes_with(&marker).is_empty());
        ensure!(
            gone,
            "round {round}: jobs outlived the service: {:?}",
            processes_with(&marker)
        );
        daemon.start_again().with_context(|| format!("round {round}"))?;
    }
    let accepted = accepted.into_inner().unwrap_or_default();
    ensure!(
        accepted.len() > 20,
        "only {} jobs were accepted: that is no load",
        accepted.len()
    );
    let ended = all_ended(&daemon, &accepted)?;
    ensure!(
        ended.get("finished").is_some_and(|count| *count > 0),
        "nothing finished: {ended:?}"
    );
    daemon.stop()?;
    brig_tests::assert::nothing_is_left(&stage.brig, mode, &before)
}

/// Who submits what, and where the ids are remembered that were handed out.
struct Load<'a> {
    daemon: &'a Daemon,
    accepted: &'a Mutex<BTreeMap<String, u32>>,
    marker: &'a str,
}

/// Submits from three callers; kills the process `pid` after `span`, while they go on.
fn load_and_kill(load: &Load<'_>, span: Duration, pid: u32) -> Result<()> {
    let victim = Pid::from_raw(i32::try_from(pid)?);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for caller in 0..3 {
            let over = &over;
            scope.spawn(move || {
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    load.submit(caller, number);
                }
            });
        }
        // The moment of the kill is what varies from round to round; there is nothing to wait for.
        wait_until(span, || false);
        let killed = kill(victim, Signal::SIGKILL);
        over.store(true, Ordering::Relaxed);
        killed.context("it was gone already")
    })
}

impl Load<'_> {
    /// One job; what is refused while the service dies was not accepted.
    fn submit(&self, caller: u32, number: u32) {
        let seconds = 0.05 * f64::from(number % 4);
        let code = format!(
            "import time; time.sleep({seconds}); print('{}', {number})",
            self.marker
        );
        let command = self.daemon.client(&["submit", "-c", &code]);
        if let Ok(done) = process::run(command, Vec::new(), PATIENCE)
            && done.code() == 0
            && let Ok(mut ids) = self.accepted.lock()
        {
            ids.insert(String::from_utf8_lossy(&done.stdout).trim().to_owned(), caller);
        }
    }
}

/// Every accepted job has a record and reaches exactly one end; how many reached which.
fn all_ended(daemon: &Daemon, accepted: &BTreeMap<String, u32>) -> Result<BTreeMap<String, u32>> {
    let mut ended = BTreeMap::new();
    for id in accepted.keys() {
        let mut record = Value::Null;
        let reached = wait_until(PATIENCE, || {
            let done = process::run(daemon.client(&["show", "--json", id]), Vec::new(), PATIENCE);
            record = done
                .ok()
                .and_then(|done| serde_json::from_slice(&done.stdout).ok())
                .unwrap_or_default();
            record["state"]
                .as_str()
                .is_some_and(|state| ["finished", "failed", "cancelled"].contains(&state))
        });
        ensure!(reached, "accepted and not ended: {id}: {record}");
        let state = record["state"].as_str().unwrap_or_default().to_owned();
        let kind = record["verdict"]["kind"].as_str().unwrap_or_default();
        let expected = if state == "finished" {
            "exited"
        } else {
            "interrupted"
        };
        ensure!(kind == expected, "{id} is {state} with {kind}: {record}");
        if state == "finished" {
            let logs = process::run(daemon.client(&["logs", id]), Vec::new(), PATIENCE)?;
            let lines = String::from_utf8_lossy(&logs.stdout).lines().count();
            ensure!(
                lines == 1,
                "{id} printed {lines} lines: it ran more than once, or its output is lost"
            );
        }
        *ended.entry(state).or_insert(0) += 1;
    }
    Ok(ended)
}
