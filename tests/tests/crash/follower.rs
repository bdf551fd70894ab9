//! Watchers that follow a job while the service dies and comes back.

use crate::load::Load;
use crate::{PATIENCE, client};
use anyhow::{Context, Result, ensure};
use brig_tests::daemon::Daemon;
use brig_tests::process::{self, Running};
use serde_json::Value;

/// One job and its watcher.
#[derive(Debug)]
pub(crate) struct Follower {
    job: String,
    watching: Running,
}

impl Follower {
    /// Submits a job that prints for a second, and watches it.
    pub(crate) fn start(daemon: &Daemon, load: &Load) -> Result<Self> {
        let code = "import os, time\nprint('nonce', os.urandom(8).hex(), flush=True)\nfor n in range(20):\n    \
                    print('line', n, flush=True)\n    time.sleep(0.05)\n";
        let done = client(daemon, &["submit", "--attempts", "3", "-c", code])?;
        ensure!(
            done.code() == 0,
            "submit: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        let job = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        load.was_accepted(&job);
        let command = daemon.client(&["logs", "-f", "--json", &job]);
        Ok(Self {
            job,
            watching: process::start(command, Vec::new())?,
        })
    }
}

fn events(stdout: &[u8]) -> Result<Vec<Value>> {
    let lines = stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).context("no event"))
        .collect()
}

/// Each saw every event once, in order, up to the end, and the same as one who asks afterwards; how many had to come
/// back. A watcher whose patience ended (the service can be down for long) must have seen a beginning of it.
pub(crate) fn all_saw_everything(followers: Vec<Follower>, daemon: &Daemon) -> Result<String> {
    let (mut whole, mut gave_up, count) = (0, 0, followers.len());
    let mut last_words = String::new();
    for Follower { job, watching } in followers {
        let done = watching.finish(PATIENCE)?;
        let seen = events(&done.stdout)?;
        let after = events(&client(daemon, &["logs", "--json", &job])?.stdout)?;
        let (first, rest) = after.split_at(seen.len().min(after.len()));
        ensure!(
            seen == first,
            "{job}: a watcher across the crash saw {seen:?}, one afterwards {after:?}"
        );
        if done.code() == 0 {
            ensure!(
                rest.is_empty(),
                "{job}: the watcher ended before the job did: {rest:?}"
            );
            let last = seen.last().map(|event| &event["event"]);
            ensure!(last == Some(&Value::from("ended")), "{job}: {seen:?}");
            whole += 1;
        } else {
            gave_up += 1;
            last_words = format!("exit {}: {}", done.code(), String::from_utf8_lossy(&done.stderr));
        }
        let numbers: Vec<u64> = after.iter().filter_map(|event| event["seq"].as_u64()).collect();
        let expected: Vec<u64> = (1..).take(after.len()).collect();
        ensure!(numbers == expected, "{job}: events {numbers:?}");
    }
    ensure!(
        2 * whole > count,
        "only {whole} of {count} watchers came back; {last_words}"
    );
    Ok(format!(
        "{count} watchers across a crash, {whole} saw everything once, {gave_up} lost patience"
    ))
}
