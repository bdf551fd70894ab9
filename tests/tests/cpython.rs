//! CPython's own tests end in a cell as they do outside, case by case, except for the cases in `tests/cpython/expected.json`, each
//! with its reason. A case that differs and is not there fails; so does one that is there and no longer differs.
//!
//! The longest modules are tried in one mode only, unless the long forms are wanted.

use anyhow::{Context, Result, bail, ensure};
use brig_tests::cell::Bench;
use brig_tests::modes::{Mode, Privilege};
use brig_tests::process;
use brig_tests::skip::Skip;
use brig_tests::stage::{Stage, source, state};
use brig_tests::suite::{is_long, run, run_at_once, trial};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const PYTHON: &str = "/usr/bin/python3";
/// No module takes longer in a cell: the ceiling of the wall time.
const PATIENCE: Duration = Duration::from_secs(330);
/// Many cases wait for a time to pass, so that twice as many modules as processors keep these busy.
const AT_ONCE: usize = 4;

/// Tried in every mode.
const SHORT: &[&str] = &[
    "test_json",
    "test_threading",
    "test_tempfile",
    "test_shutil",
    "test_mmap",
    "test_sqlite3",
    "test_zoneinfo",
    "test_os",
    "test_fcntl",
    "test_select",
    "test_selectors",
    "test_pty",
    "test_time",
];

/// Tried as root only, and in every mode by the long run.
const SLOW: &[&str] = &["test_asyncio", "test_signal", "test_subprocess", "test_socket"];

/// Tried by the long run only.
const LONG: &[&str] = &[
    "test_concurrent_futures",
    "test_faulthandler",
    "test_multiprocessing_fork",
    "test_multiprocessing_forkserver",
    "test_ssl",
    "test_tarfile",
    "test_threadsignals",
    "test_eintr",
    "test_logging",
    "test_pathlib",
];

/// Case and outcome.
type Cases = BTreeMap<String, String>;

/// How a module ended outside: run once for all modes.
type Outside = Arc<OnceLock<Result<Cases, String>>>;

/// Cases that may differ.
#[derive(Debug)]
struct Expected {
    pattern: String,
    outside: String,
    inside: String,
}

fn main() -> ExitCode {
    let stage = match Stage::set_up() {
        Ok(stage) => Arc::new(stage),
        Err(error) => return run(vec![trial("the tests can be staged", move || Err(error))]),
    };
    let mut trials = Vec::new();
    let long = if is_long() { LONG } else { &[] };
    for &module in SLOW.iter().chain(SHORT).chain(long) {
        let outside = Outside::default();
        for mode in Mode::embedded() {
            if SLOW.contains(&module) && mode.privilege != Privilege::Root && !is_long() {
                continue;
            }
            let (stage, outside) = (Arc::clone(&stage), Arc::clone(&outside));
            trials.push(trial(format!("{module} [{}]", mode.name()), move || {
                mode.available()?;
                installed(module)?;
                let bench = Bench::set_up(stage, mode)?;
                let expected = outside
                    .get_or_init(|| cases_outside(&bench, module).map_err(|error| format!("{error:#}")));
                let expected = expected
                    .as_ref()
                    .map_err(|error| anyhow::anyhow!("outside: {error}"))?;
                compare(expected, &cases_inside(&bench, module)?)
            }));
        }
    }
    run_at_once(trials, AT_ONCE)
}

/// Where a module is that the distribution does not pack.
fn more(module: &str) -> Option<PathBuf> {
    let directory = state()?.join("cpython").join(module);
    directory.is_dir().then_some(directory)
}

fn installed(module: &str) -> Result<()> {
    let tests = Path::new("/usr/lib/python3.11/test");
    let there = tests.join(module).is_dir() || tests.join(format!("{module}.py")).is_file();
    if there || more(module).is_some() {
        return Ok(());
    }
    Err(Skip::because(format!(
        "{module} is not installed: tests/run gets it on Debian 12"
    ))
    .into())
}

/// As an ordinary user of the host, with the limits on descriptors and core dumps that a cell has.
fn cases_outside(bench: &Bench, module: &str) -> Result<Cases> {
    let mode = Mode {
        privilege: Privilege::Bare,
        ..bench.mode
    };
    let directory = bench.stage.directory(mode)?;
    let script = directory.path().join("cases.py");
    std::fs::copy(bench.stage.path("cpython/cases.py"), &script)?;
    if let Some(tests) = more(module) {
        let linked = directory.path().join("more");
        std::fs::create_dir(&linked)?;
        std::os::unix::fs::symlink(tests, linked.join(module))?;
    }
    let mut command: Command = mode.command(Path::new("prlimit"));
    command.args(["--nofile=1024:1024", "--core=0:0", PYTHON]);
    command.arg(&script).arg("cases.jsonl").arg(module);
    command
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env("TMPDIR", directory.path());
    let done = process::run(command, Vec::new(), PATIENCE)?;
    read(&directory.path().join("cases.jsonl"))
        .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())
}

fn cases_inside(bench: &Bench, module: &str) -> Result<Cases> {
    let collected = bench.stage.directory(bench.mode)?;
    let script = bench.stage.path("cpython/cases.py").display().to_string();
    let mut run = bench
        .command(&[PYTHON, "cases.py", "cases.jsonl", module])
        .options(&[
            "--timeout",
            "300s",
            "--cpu-time",
            "300s",
            "--memory",
            "2GiB",
            "--pids",
            "512",
            "--in",
            &script,
            "--out",
            "cases.jsonl",
            "--out-dir",
            &collected.path().display().to_string(),
        ]);
    if let Some(tests) = more(module) {
        run = run.options(&["--in", &format!("{}:more/{module}", tests.display())]);
    }
    let seen = run.start()?.report_within(PATIENCE)?;
    read(&collected.path().join("cases.jsonl")).with_context(|| seen.told())
}

/// The last word about each case. One that began and did not end took the interpreter with it.
fn read(path: &Path) -> Result<Cases> {
    let text = std::fs::read_to_string(path).context("no cases were written down")?;
    let mut cases = Cases::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        cases.insert(word("case"), word("outcome"));
    }
    ensure!(cases.len() > 2, "hardly any case ran: {text}");
    Ok(cases)
}

fn expected() -> Result<Vec<Expected>> {
    let text = std::fs::read_to_string(source("cpython/expected.json"))?;
    let list: Vec<Value> = serde_json::from_str(&text)?;
    let entry = |entry: &Value| {
        let word = |name: &str| {
            entry[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("{entry}: no {name}"))
        };
        ensure!(word("reason")?.len() > 20, "{entry}: no reason");
        Ok(Expected {
            pattern: word("cases")?,
            outside: word("outside")?,
            inside: word("inside")?,
        })
    };
    list.iter().map(entry).collect()
}

/// `*` stands for anything, `?` for one character.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, tail)| matches(pattern, tail))
        }
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((one, rest)), Some((other, tail))) => one == other && matches(rest, tail),
        (Some(_) | None, _) => false,
    }
}

fn compare(outside: &Cases, inside: &Cases) -> Result<()> {
    let known = expected()?;
    let absent = "absent".to_owned();
    let mut wrong = Vec::new();
    for case in outside
        .keys()
        .chain(inside.keys().filter(|case| !outside.contains_key(*case)))
    {
        let before = outside.get(case).unwrap_or(&absent);
        let after = inside.get(case).unwrap_or(&absent);
        // On a host where a case ends otherwise outside, the entry says nothing about it.
        let entry = known
            .iter()
            .find(|entry| entry.outside == *before && matches(entry.pattern.as_bytes(), case.as_bytes()));
        match entry {
            Some(entry) if entry.inside == *after => {}
            Some(_) if before == after => {
                wrong.push(format!("{case} no longer differs: take it off the list"))
            }
            Some(_) | None if before == after => {}
            Some(_) | None => wrong.push(format!("{case}: {before} outside, {after} inside")),
        }
    }
    if !wrong.is_empty() {
        bail!(
            "{} of {} cases:\n  {}",
            wrong.len(),
            outside.len(),
            wrong.join("\n  ")
        );
    }
    Ok(())
}
