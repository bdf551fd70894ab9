//! What callers do meanwhile: submit, execute, send and fetch files, cancel, pass secrets, repeat requests.

use crate::{MODE, PATIENCE, client};
use anyhow::{Context, Result, ensure};
use brig_tests::daemon::Daemon;
use brig_tests::process::{self, Done};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Larger than what travels inside a request.
const INPUT_BYTES: usize = 1_200_000;
/// Records that are asked for one by one at the end.
const SAMPLE: usize = 40;

/// What a caller did and what must become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Plain,
    Keyed,
    Executed,
    Files,
    Cancelled,
    Secret,
    Retried,
    Command,
}

const KINDS: [Kind; 8] = [
    Kind::Plain,
    Kind::Keyed,
    Kind::Executed,
    Kind::Files,
    Kind::Cancelled,
    Kind::Secret,
    Kind::Retried,
    Kind::Command,
];

/// How callers reach the service, whether or not it is there.
#[derive(Debug)]
struct Way {
    brig: PathBuf,
    directory: PathBuf,
    address: String,
}

impl Way {
    fn run(&self, arguments: &[&str], secret: &str) -> Result<Done> {
        let mut command = MODE.command(&self.brig);
        command.args(arguments).env("BRIG_ADDRESS", &self.address);
        command.current_dir(&self.directory).env("HOME", &self.directory);
        command.env("TOKEN", secret);
        process::run(command, Vec::new(), PATIENCE)
    }
}

/// Everything that callers were told.
#[derive(Debug)]
pub(crate) struct Load {
    way: Way,
    marker: String,
    secret: String,
    input: String,
    number: AtomicUsize,
    accepted: Mutex<BTreeMap<String, Kind>>,
    /// What each key stands for: known as soon as one caller was told.
    keys: Mutex<BTreeMap<String, Option<String>>>,
    executed: AtomicUsize,
}

impl Load {
    pub(crate) fn new(brig: &Path, daemon: &Daemon, seed: u64) -> Result<Self> {
        let input = daemon.directory().join("input.bin");
        std::fs::write(&input, vec![b'i'; INPUT_BYTES])?;
        let way = Way {
            brig: brig.to_owned(),
            directory: daemon.directory().to_owned(),
            address: daemon.address(),
        };
        Ok(Self {
            way,
            marker: format!("brig-crash-{}", std::process::id()),
            secret: format!("secret-of-the-crash-test-{seed:016x}"),
            input: input.display().to_string(),
            number: AtomicUsize::new(0),
            accepted: Mutex::default(),
            keys: Mutex::default(),
            executed: AtomicUsize::new(0),
        })
    }

    /// In the arguments of every command that runs in a cell.
    pub(crate) fn marker(&self) -> &str {
        &self.marker
    }

    /// One request after the other until the service is dead.
    pub(crate) fn go_on(&self, caller: usize, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let kind = KINDS[(number + caller) % KINDS.len()];
            // What is refused or broken off while the service dies was not accepted.
            self.one(kind, number).ok();
        }
    }

    fn one(&self, kind: Kind, number: usize) -> Result<()> {
        let code = format!(
            "import os, time; print('nonce', os.urandom(8).hex(), flush=True); time.sleep({})",
            0.05 * f64::from(u32::try_from(number % 4)?)
        );
        let key = format!("key-{number}");
        let arguments: Vec<&str> = match kind {
            Kind::Plain => vec!["submit", "-c", &code],
            Kind::Keyed => vec!["submit", "--key", &key, "-c", &code],
            Kind::Executed => vec!["run", "--json", "-c", &code],
            Kind::Files => {
                let program = "import shutil; shutil.copy('input.bin', 'output.bin')";
                vec!["submit", "--in", &self.input, "--out", "*.bin", "-c", program]
            }
            Kind::Cancelled => vec!["submit", "--", "sleep", "50"],
            Kind::Secret => vec![
                "submit",
                "--secret",
                "TOKEN",
                "-c",
                "import os; print(os.environ['TOKEN'])",
            ],
            Kind::Retried => vec!["submit", "--attempts", "3", "-c", &code],
            Kind::Command => vec!["submit", "--", "sh", "-c", "sleep 0.2; echo \"$0\"", &self.marker],
        };
        if kind == Kind::Keyed {
            self.keys().entry(key.clone()).or_insert(None);
        }
        let done = self.way.run(&arguments, &self.secret)?;
        if kind == Kind::Executed {
            return self.executed(&done);
        }
        if done.code() == 0 {
            let id = String::from_utf8_lossy(&done.stdout).trim().to_owned();
            self.lock().insert(id.clone(), kind);
            if kind == Kind::Keyed {
                self.keys().insert(key, Some(id.clone()));
            }
            if kind == Kind::Cancelled {
                self.way.run(&["cancel", &id], &self.secret)?;
            }
        }
        Ok(())
    }

    fn executed(&self, done: &Done) -> Result<()> {
        let report: Value = serde_json::from_slice(&done.stdout)?;
        if let Some(id) = report["id"].as_str() {
            self.lock().insert(id.to_owned(), Kind::Executed);
            self.executed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A job that somebody else submitted.
    pub(crate) fn was_accepted(&self, job: &str) {
        self.lock().insert(job.to_owned(), Kind::Retried);
    }

    /// A repeated request gives the job that the first one made, whether or not its caller was told.
    pub(crate) fn keys_still_mean_the_same(&self, daemon: &Daemon) -> Result<()> {
        let newest: Vec<_> = self.keys().clone().into_iter().rev().collect();
        // Those that nobody was told of, and a few others.
        let (told, untold): (Vec<_>, Vec<_>) = newest.into_iter().partition(|(_, job)| job.is_some());
        for (key, job) in untold.into_iter().chain(told.into_iter().take(2)) {
            let number: u32 = key.trim_start_matches("key-").parse()?;
            let code = format!(
                "import os, time; print('nonce', os.urandom(8).hex(), flush=True); time.sleep({})",
                0.05 * f64::from(number % 4)
            );
            let mut given = job;
            for _ in 0..2 {
                let done = client(daemon, &["submit", "--key", &key, "-c", &code])?;
                let said = String::from_utf8_lossy(&done.stderr).into_owned();
                ensure!(done.code() == 0, "{key}: {said}");
                let id = String::from_utf8_lossy(&done.stdout).trim().to_owned();
                let first = given.get_or_insert_with(|| id.clone());
                ensure!(*first == id, "{key} stands for {first} and for {id}");
            }
            if let Some(id) = given {
                self.lock().insert(id.clone(), Kind::Keyed);
                self.keys().insert(key, Some(id));
            }
        }
        Ok(())
    }

    /// Every id that a caller was told.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// The service tells of its jobs what the callers must be able to expect.
    pub(crate) fn records_agree(&self, daemon: &Daemon) -> Result<()> {
        let mut by_kind: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
        for (id, kind) in self.lock().iter() {
            by_kind.entry(*kind).or_default().push(id.clone());
        }
        for (kind, ids) in by_kind {
            for id in ids.iter().rev().take(SAMPLE / KINDS.len()) {
                record_agrees(daemon, kind, id).with_context(|| format!("{kind:?} {id}"))?;
            }
        }
        Ok(())
    }

    /// A secret is never written to the disk.
    pub(crate) fn no_secret_is_stored(&self, data: &Path) -> Result<()> {
        let mut command = process::command("grep");
        command.args(["-rlaF", &self.secret]).arg(data);
        let done = process::run(command, Vec::new(), PATIENCE)?;
        let files = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(done.code() == 1, "the secret is in {files}");
        Ok(())
    }

    /// That the callers were really busy.
    pub(crate) fn was_enough(&self, kills: u64) -> Result<()> {
        let accepted = self.lock().len();
        ensure!(
            accepted as u64 > 2 * kills && self.executed.load(Ordering::Relaxed) > 0,
            "only {accepted} jobs were accepted: that is no load"
        );
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Kind>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record_agrees(daemon: &Daemon, kind: Kind, id: &str) -> Result<()> {
    let done = client(daemon, &["show", "--json", id])?;
    let record: Value = serde_json::from_slice(&done.stdout)
        .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())?;
    let state = record["state"].as_str().unwrap_or_default();
    let verdict = record["verdict"]["kind"].as_str().unwrap_or_default();
    let whole = if kind == Kind::Cancelled {
        ("cancelled", "cancelled")
    } else {
        ("finished", "exited")
    };
    let expected = [whole, ("failed", "interrupted")];
    ensure!(
        expected.contains(&(state, verdict)),
        "{state} with {verdict}: {record}"
    );
    if state != "finished" {
        return Ok(());
    }
    ensure!(record["verdict"]["code"] == 0, "{record}");
    let logs = client(daemon, &["logs", id])?.stdout;
    if kind == Kind::Secret {
        ensure!(logs == b"[redacted]\n", "{}", String::from_utf8_lossy(&logs));
    } else if kind == Kind::Files {
        let directory = tempfile::tempdir()?;
        let target = directory.path().display().to_string();
        let done = client(daemon, &["show", "--out-dir", &target, id])?;
        ensure!(done.code() == 0, "{}", String::from_utf8_lossy(&done.stderr));
        let fetched = std::fs::read(directory.path().join("output.bin"))?;
        ensure!(
            fetched == vec![b'i'; INPUT_BYTES],
            "{} other bytes",
            fetched.len()
        );
    } else {
        ensure!(!logs.is_empty(), "its output is lost");
    }
    Ok(())
}
