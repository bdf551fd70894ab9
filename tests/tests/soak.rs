//! Many jobs on one daemon, a third of them ending badly: nothing of it may grow.

use anyhow::{Context, Result, ensure};
use brig_tests::assert::{CLEAN_WITHIN, Surroundings, field};
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, wait_until};
use brig_tests::stage::Stage;
use brig_tests::suite::{is_long, run, trial};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Jobs before the first measurement: caches, spares and allocator arenas have their size then.
const WARM_UP: usize = 60;

/// The ways to end, and the exit status of `brig run` for each.
const WAYS: [(&[&str], i32); 9] = [
    (&["-c", "print(1)"], 0),
    (&["-c", "import json, threading; print(json.dumps([1]))"], 0),
    (&["--", "sh", "-c", "echo out; echo err >&2"], 0),
    (&["-c", "open('f', 'w').write('x' * 1000)"], 0),
    (&["--", "true"], 0),
    (&["-c", "import sys; sys.exit(3)"], 3),
    (&["-c", "raise ValueError"], 1),
    (&["--timeout", "300ms", "-c", "while True: pass"], 124),
    (&["-c", "import os; os.kill(os.getpid(), 11)"], 139),
];

fn main() -> ExitCode {
    run(vec![trial(
        "descriptors, threads, groups and memory stay flat over many jobs",
        soak,
    )])
}

fn soak() -> Result<()> {
    let mode = Mode {
        privilege: Privilege::Root,
        reach: Reach::Served,
    };
    mode.available()?;
    let stage = Arc::new(Stage::set_up()?);
    let mut daemon = Daemon::start(&stage, mode, &[])?;
    let jobs = if is_long() { 10_000 } else { 240 };
    many(&daemon, WARM_UP)?;
    let before = [Size::at_most(daemon.keeper()?)?, Size::at_most(daemon.daemon()?)?];
    let around = Surroundings::at_most(&stage.brig, mode, CLEAN_WITHIN);
    many(&daemon, jobs)?;
    brig_tests::assert::no_more_than(&stage.brig, mode, &around)?;
    let after = [Size::of(daemon.keeper()?)?, Size::of(daemon.daemon()?)?];
    for (name, before, after) in [("keeper", before[0], after[0]), ("daemon", before[1], after[1])] {
        ensure!(
            after.descriptors <= before.descriptors + 3,
            "{name}'s descriptors: {before:?}, then {after:?}"
        );
        ensure!(
            after.threads <= before.threads + 2,
            "{name}'s threads: {before:?}, then {after:?}"
        );
        // A record per job stays in the store's caches; a leak of a buffer per job would be far more.
        ensure!(
            after.resident_kib <= before.resident_kib + 24 * 1024,
            "{name}'s memory: {before:?}, then {after:?}"
        );
    }
    daemon.stop()
}

/// Runs `count` jobs, four at a time, every way in turn.
fn many(daemon: &Daemon, count: usize) -> Result<()> {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                scope.spawn(move || -> Result<()> {
                    for number in (caller..count).step_by(4) {
                        let (arguments, expected) = WAYS[number % WAYS.len()];
                        let command = daemon.client(&[&["run"], arguments].concat());
                        let done = process::run(command, Vec::new(), PATIENCE)?;
                        let said = String::from_utf8_lossy(&done.stderr).into_owned();
                        ensure!(
                            done.code() == expected,
                            "{arguments:?}: {} instead of {expected}: {said}",
                            done.code()
                        );
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

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Size {
    descriptors: usize,
    threads: u64,
    resident_kib: u64,
}

impl Size {
    /// The most during a while: spare cells, which hold descriptors, are built after the last job.
    fn at_most(pid: u32) -> Result<Self> {
        let mut most = Self::of(pid)?;
        wait_until(CLEAN_WITHIN, || {
            if let Ok(now) = Self::of(pid) {
                most.descriptors = most.descriptors.max(now.descriptors);
                most.threads = most.threads.max(now.threads);
                most.resident_kib = most.resident_kib.max(now.resident_kib);
            }
            false
        });
        Ok(most)
    }

    fn of(pid: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| -> Result<u64> {
            let value = field(&status, name).with_context(|| format!("no {name}"))?;
            Ok(value.split_whitespace().next().context("no value")?.parse()?)
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self {
            descriptors,
            threads: number("Threads:")?,
            resident_kib: number("VmRSS:")?,
        })
    }
}
