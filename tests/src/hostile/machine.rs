//! What can only be tried on a machine that may be harmed: its clock is stepped, and its settings are changed for real.
//! That is the virtual machine of `tests/vm/run`; elsewhere these checks are skipped.

use super::{Arm, Check};
use crate::assert::processes_with;
use crate::cell::Bench;
use crate::daemon::Daemon;
use crate::modes::{Need, Reach};
use crate::process::{self, wait_until};
use crate::skip::Skip;
use crate::slack::{stretched, stretched_ms};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const PATIENCE: Duration = Duration::from_secs(60);

/// A job that was started can be seen from outside within this time.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// A module of the machine's kernel that nothing needs; `tests/vm/image` puts it there.
const MODULE: &str = "/usr/local/lib/brig-tests/ifb.ko";

const HARM: [&str; 11] = [
    "sethostname",
    "setdomainname",
    "settimeofday",
    "clock_settime",
    "finit_module",
    "swapon",
    "acct",
    "kexec_load",
    "reboot",
    "sysrq",
    "sysctl",
];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "S-05b",
        title: "calls that really change a machine change nothing from a cell",
        needs: &[Need::DisposableMachine],
        body: |bench| {
            let before = Machine::look()?;
            let run = bench.program("harm_machine.py").args(&["/workspace", MODULE]);
            let seen = run.go()?;
            seen.refused_everything_but(&[])?;
            for name in HARM {
                seen.refused(name, &["EPERM", "ENOSYS", "EACCES", "EROFS", "ENOENT"])?;
            }
            ensure!(before == Machine::look()?, "the machine changed{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let directory = tempfile::tempdir_in("/var/tmp")?;
            let path = directory.path().display().to_string();
            let seen = bench.outside("harm_machine.py", &[&path, MODULE])?;
            HARM.iter().try_for_each(|name| seen.reached(name).map(drop))
        }),
    },
    Check {
        id: "T-10",
        title: "a step of the clock by an hour moves no deadline and no measured time",
        needs: &[Need::DisposableMachine],
        body: |bench| {
            limit_during_steps(bench)?;
            measure_during_steps(bench)
        },
        arm: Arm::Within,
    },
    Check {
        id: "X-12",
        title: "a step of the clock by a day expires no lease, no queued job and no record",
        needs: &[Need::DisposableMachine],
        body: |bench| {
            ensure!(
                bench.mode.reach == Reach::Served,
                Skip::because("asked of a daemon's jobs")
            );
            day_steps(bench)
        },
        arm: Arm::Within,
    },
];

/// What a program could have changed.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    files: Vec<String>,
}

impl Machine {
    fn look() -> Result<Self> {
        let paths = [
            "/proc/sys/kernel/hostname",
            "/proc/sys/kernel/domainname",
            "/proc/sys/kernel/panic_on_warn",
            "/proc/sys/kernel/ctrl-alt-del",
            "/proc/modules",
            "/proc/swaps",
        ];
        let files: std::io::Result<Vec<String>> = paths.iter().map(std::fs::read_to_string).collect();
        Ok(Self { files: files? })
    }
}

/// Moves the clock of the machine; puts it right again on drop.
#[derive(Debug)]
struct WallClock {
    began: Instant,
    right: SystemTime,
}

impl WallClock {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            right: SystemTime::now(),
        }
    }

    /// So many seconds away from the right time.
    fn step_to(&self, seconds: i64) -> Result<()> {
        let right = self.right + self.began.elapsed();
        let right = right.duration_since(SystemTime::UNIX_EPOCH)?;
        let wanted = i64::try_from(right.as_secs())? + seconds;
        let mut date = process::command("date");
        date.arg("--set")
            .arg(format!("@{wanted}.{:03}", right.subsec_millis()));
        let done = process::run(date, Vec::new(), PATIENCE)?;
        ensure!(done.code() == 0, "{}", String::from_utf8_lossy(&done.stderr));
        let reached = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let off = i64::try_from(reached.as_secs())? - wanted;
        ensure!(off.abs() <= 5, "the clock is {off} s off after it was set");
        Ok(())
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        self.step_to(0).ok();
    }
}

/// A sleeper meets its limit at the right moment, while the clock goes to and fro.
fn limit_during_steps(bench: &Bench) -> Result<()> {
    let marker = bench.marker();
    // Long enough that the clock can be stepped three times within it on an emulated processor too.
    let limit = 6_000.0;
    let timeout = format!("{limit}ms");
    let started = Instant::now();
    let run = bench
        .command(&["sleep", &format!("600.{marker}")])
        .options(&["--timeout", &timeout])
        .start()?;
    let clock = WallClock::new();
    ensure!(
        wait_until(SEEN_WITHIN, || !processes_with(&marker).is_empty()),
        "it did not start"
    );
    clock.step_to(HOUR)?;
    clock.step_to(-HOUR)?;
    clock.step_to(HOUR)?;
    let seen = run.report()?;
    let elapsed = started.elapsed();
    drop(clock);
    seen.timed_out("wall")?;
    let wall = seen.usage("wall_ms")?;
    ensure!(
        (limit - 1.0..=limit + stretched_ms(500.0)).contains(&wall),
        "{wall} ms of {limit}{}",
        seen.told()
    );
    ensure!(
        elapsed.as_secs_f64() * 1_000.0 >= limit,
        "ended after {elapsed:?}{}",
        seen.told()
    );
    Ok(())
}

/// What is measured is what passed: by the program's own monotonic clock, and by the harness's.
fn measure_during_steps(bench: &Bench) -> Result<()> {
    for step in [HOUR, -HOUR] {
        let marker = bench.marker();
        let code = format!(
            "import time, sys, subprocess\nbegan = time.monotonic()\n\
             subprocess.run(['sleep', '2.{marker}'])\n\
             print('SAW passed', (time.monotonic() - began) * 1000)"
        );
        let started = Instant::now();
        let run = bench.code(&code).time_enough(20).start()?;
        let clock = WallClock::new();
        ensure!(
            wait_until(SEEN_WITHIN, || !processes_with(&marker).is_empty()),
            "it did not start"
        );
        clock.step_to(step)?;
        let seen = run.report()?;
        let elapsed = started.elapsed().as_secs_f64() * 1_000.0;
        drop(clock);
        seen.exited(0)?;
        let (wall, passed) = (seen.usage("wall_ms")?, seen.number("passed")?);
        // The interpreter starts and ends outside of what the program can measure.
        ensure!(
            wall >= passed && wall <= passed + stretched_ms(600.0) && wall <= elapsed,
            "{wall} ms measured, {passed} ms passed in the program, {elapsed} ms outside{}",
            seen.told()
        );
        let queue = seen.usage("queue_ms")?;
        ensure!(
            (0.0..=stretched_ms(1_000.0)).contains(&queue),
            "{queue} ms in the queue{}",
            seen.told()
        );
    }
    Ok(())
}

fn client(daemon: &Daemon, arguments: &[&str]) -> Result<String> {
    let done = process::run(daemon.client(arguments), Vec::new(), PATIENCE)?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.code() == 0, "{arguments:?}: {said}");
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

fn ended(daemon: &Daemon, id: &str) -> Result<Value> {
    let mut record = Value::Null;
    let over = wait_until(PATIENCE, || {
        let shown = client(daemon, &["show", "--json", id]).unwrap_or_default();
        record = serde_json::from_str(&shown).unwrap_or_default();
        record["state"]
            .as_str()
            .is_some_and(|state| ["finished", "failed", "cancelled"].contains(&state))
    });
    ensure!(over, "{id} does not end: {record}");
    Ok(record)
}

/// Leases of six seconds, a running job that outlives two of them, and jobs that wait behind it.
fn day_steps(bench: &Bench) -> Result<()> {
    let config = "lease = \"6s\"\nmax_concurrent = 1\n";
    let mut daemon = Daemon::start_with(&bench.stage, bench.mode, config)?;
    let old = client(&daemon, &["submit", "-c", "print('old')"])?;
    ended(&daemon, &old)?;
    for step in [DAY, -DAY] {
        let marker = bench.marker();
        let sleep = format!("15.{marker}");
        let running = client(&daemon, &["submit", "--timeout", "60s", "--", "sleep", &sleep])?;
        let waiting = client(&daemon, &["submit", "-c", "print('waited')"])?;
        let impatient = ["submit", "--queue-timeout", "3s", "-c", "print('never')"];
        let asked = Instant::now();
        let expiring = client(&daemon, &impatient)?;
        ensure!(
            wait_until(SEEN_WITHIN, || !processes_with(&marker).is_empty()),
            "it did not start"
        );
        let clock = WallClock::new();
        clock.step_to(step)?;
        // A queue time-out is still true: neither at once nor in a day.
        let record = ended(&daemon, &expiring)?;
        let took = asked.elapsed();
        ensure!(record["verdict"]["kind"] == "queue_expired", "{record}");
        ensure!(
            took >= Duration::from_secs(3) && took <= stretched(Duration::from_secs(6)),
            "a queue time-out of 3 s took {took:?}: {record}"
        );
        for id in [&running, &waiting] {
            let record = ended(&daemon, id)?;
            ensure!(
                record["verdict"]["kind"] == "exited" && record["verdict"]["code"] == 0,
                "the clock's step ended it: {record}"
            );
        }
        drop(clock);
        // Nor is a record forgotten.
        let shown = client(&daemon, &["show", "--json", &old]);
        shown.context("the record of a finished job is gone")?;
    }
    daemon.stop()
}
