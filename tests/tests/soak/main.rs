//! Many jobs on one daemon, a third of them hostile: nothing of it may grow. `BRIG_SOAK_JOBS` says how many.

mod sample;
mod ways;

use anyhow::{Context, Result, ensure};
use brig_tests::assert::{CLEAN_WITHIN, Surroundings, nothing_is_left};
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, wait_until};
use brig_tests::stage::Stage;
use brig_tests::suite::{is_long, run, trial};
use nix::sys::signal::Signal;
use sample::{Sample, is_flat, processes, store, table};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ways::{Caller, HOSTILE, ORDINARY, Way};

const PATIENCE: Duration = Duration::from_secs(90);

/// Callers at once.
const CALLERS: usize = 4;
/// Jobs before the first sample: caches, spares and allocator arenas have their size then.
const WARM_UP: usize = 90;
/// Samples after that.
const SAMPLES: usize = 10;
/// Ended jobs that are kept.
const KEPT: usize = 1_000;

fn main() -> ExitCode {
    run(vec![trial(
        "descriptors, threads, namespaces, groups and memory stay flat over many jobs, a third of them hostile",
        soak,
    )])
}

fn soak() -> Result<()> {
    let mode = Mode::jail(Privilege::Root, Reach::Served);
    mode.available()?;
    let stage = Arc::new(Stage::set_up()?);
    let before = Surroundings::look(&stage.brig, mode);
    let config = format!("[retention]\njobs = {KEPT}\n");
    let mut daemon = Daemon::start_with(&stage, mode, &config)?;
    std::fs::write(daemon.directory().join("input.txt"), "input")?;
    let began = Instant::now();
    many(&daemon, 0..WARM_UP)?;
    let idle = idle_processes(&daemon)?;
    let total = match std::env::var("BRIG_SOAK_JOBS") {
        Ok(text) => text.parse().context("BRIG_SOAK_JOBS")?,
        Err(_) if is_long() => 10_000,
        Err(_) => 240,
    };
    let mut samples = vec![Sample::take(&daemon, 0, idle)?];
    for part in 0..SAMPLES {
        let (from, to) = (total * part / SAMPLES, total * (part + 1) / SAMPLES);
        many(&daemon, from..to)?;
        samples.push(Sample::take(&daemon, to, idle)?);
        tell(&format!("{to} jobs after {:.0?}", began.elapsed()));
    }
    tell(&table(&samples));
    is_flat(&samples)?;
    memory_is_bounded(&samples)?;
    old_jobs_go(&mut daemon, total)?;
    daemon.stop()?;
    nothing_is_left(&stage.brig, mode, &before)
}

#[expect(clippy::print_stderr, reason = "the figures")]
fn tell(text: &str) {
    eprintln!("{text}");
}

/// The processes of the service with its spare cells ready and nothing to do: what is there most of the time.
fn idle_processes(daemon: &Daemon) -> Result<usize> {
    let mut seen = std::collections::BTreeMap::new();
    wait_until(CLEAN_WITHIN, || {
        if let Ok(found) = processes(daemon) {
            *seen.entry(found.len()).or_insert(0) += 1;
        }
        false
    });
    let most_often = seen.into_iter().max_by_key(|(_, times)| *times);
    Ok(most_often.context("there is no service")?.0)
}

/// The daemon's memory goes up while the caches of the store fill, and then no more: the second half of a long run
/// adds less than a buffer of 64 KiB for every hundredth job would.
fn memory_is_bounded(samples: &[Sample]) -> Result<()> {
    let half = samples.get(samples.len() / 2..).unwrap_or_default();
    let kib = |sample: Option<&Sample>| sample.map_or(0.0, |sample| sample.values[5]);
    let grown = kib(half.last()) - kib(half.first());
    ensure!(
        grown <= 8.0 * 1024.0,
        "the daemon grew by {grown} KiB:\n{}",
        table(samples)
    );
    Ok(())
}

/// Runs the jobs of these numbers, four at a time: two ordinary ones, then a hostile one.
fn many(daemon: &Daemon, numbers: std::ops::Range<usize>) -> Result<()> {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let numbers = numbers.clone();
                scope.spawn(move || -> Result<()> {
                    for number in numbers.skip(caller).step_by(CALLERS) {
                        let way = if number % 3 == 2 {
                            &HOSTILE[number / 3 % HOSTILE.len()]
                        } else {
                            &ORDINARY[(number / 3 * 2 + number % 3) % ORDINARY.len()]
                        };
                        one(daemon, caller, way)
                            .with_context(|| format!("job {number}: {:?}", way.arguments))?;
                    }
                    Ok(())
                })
            })
            .collect();
        callers.into_iter().try_for_each(|caller| {
            caller
                .join()
                .unwrap_or_else(|_panic| anyhow::bail!("a caller died"))
        })
    })
}

fn one(daemon: &Daemon, caller: usize, way: &Way) -> Result<()> {
    let out = format!("out-{caller}");
    let arguments: Vec<&str> = way
        .arguments
        .iter()
        .map(|argument| {
            if *argument == "{out}" {
                out.as_str()
            } else {
                argument
            }
        })
        .collect();
    let command = |first: &[&str]| daemon.client(&[first, &arguments].concat());
    match way.caller {
        Caller::Waits => {
            std::fs::remove_dir_all(daemon.directory().join(&out)).ok();
            let done = process::run(command(&["run"]), Vec::new(), PATIENCE)?;
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            ensure!(
                done.code() == way.exit,
                "{} instead of {}: {said}",
                done.code(),
                way.exit
            );
        }
        Caller::Leaves => {
            let running = process::start(command(&["run"]), Vec::new())?;
            // Long enough for a cell and its first lines; earlier is a fair moment as well.
            wait_until(Duration::from_millis(250), || false);
            running.signal(Signal::SIGKILL)?;
            running.finish(PATIENCE)?;
        }
        Caller::Cancels => {
            let done = process::run(command(&["submit"]), Vec::new(), PATIENCE)?;
            let id = String::from_utf8_lossy(&done.stdout).trim().to_owned();
            let done = process::run(daemon.client(&["cancel", &id]), Vec::new(), PATIENCE)?;
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            ensure!(done.code() == 0, "cancel: {said}");
        }
    }
    Ok(())
}

/// A start cleans up, too: after it, no more than the kept jobs are in the store, and their files go with the others.
fn old_jobs_go(daemon: &mut Daemon, total: usize) -> Result<()> {
    if total < KEPT {
        return Ok(());
    }
    daemon.stop()?;
    daemon.start_again()?;
    let mut rows = serde_json::Value::Null;
    let gone = wait_until(PATIENCE, || {
        rows = store(daemon).unwrap_or_default();
        rows["rows"]["jobs"]
            .as_u64()
            .is_some_and(|jobs| jobs <= KEPT as u64)
    });
    ensure!(gone, "old jobs stay: {rows}");
    let files = rows["rows"]["files"].as_u64().unwrap_or(u64::MAX);
    ensure!(files <= KEPT as u64, "their files stay: {rows}");
    tell(&format!("after the clean-up: {rows}"));
    Ok(())
}
