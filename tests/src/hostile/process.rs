//! Processes: floods, orphans, signals and tracing.

use super::{Arm, Check};
use crate::assert::{CLEAN_WITHIN, processes_with};
use crate::cell::Bench;
use crate::modes::Need;
use crate::process::wait_until;
use crate::slack::{roomy, stretched};
use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "P-01",
        title: "a fork bomb is contained",
        needs: &[],
        body: fork_bomb,
        arm: Arm::Shows(|bench| bench.outside("fork_bomb.py", &["200"])?.reached("fork").map(drop)),
    },
    Check {
        id: "P-02",
        title: "exactly so many processes or threads as allowed",
        needs: &[],
        body: exact_processes,
        arm: Arm::Within,
    },
    Check {
        id: "P-04",
        title: "a detached child does not outlive its job",
        needs: &[Need::HarnessRoot],
        body: leave_child,
        arm: Arm::Shows(|bench| {
            let marker = bench.marker();
            bench.outside("leave_child.py", &[&marker])?;
            let left = processes_with(&marker);
            for pid in &left {
                let pid = nix::unistd::Pid::from_raw(i32::try_from(*pid)?);
                nix::sys::signal::kill(pid, Signal::SIGKILL).ok();
            }
            ensure!(!left.is_empty(), "the child did not outlive its parent outside");
            Ok(())
        }),
    },
    Check {
        id: "P-05",
        title: "a deadline ends background children too",
        needs: &[],
        body: run_past_deadline,
        arm: Arm::Within,
    },
    Check {
        id: "P-06",
        title: "a job dies with the engine that started it",
        needs: &[Need::Embedded],
        body: engine_is_killed,
        arm: Arm::Within,
    },
    Check {
        id: "P-07",
        title: "signals stay inside the cell",
        needs: &[],
        body: signal_everyone,
        arm: Arm::Shows(|bench| {
            let mut decoy = bench.decoy()?;
            bench
                .outside("signal_everyone.py", &[&decoy.pid()])?
                .reached("kill_outsider")?;
            ensure!(wait_until(CLEAN_WITHIN, || !decoy.alive()), "the decoy survived");
            Ok(())
        }),
    },
    Check {
        id: "P-08",
        title: "no other process can be traced or read",
        needs: &[],
        body: trace_others,
        arm: Arm::Shows(|bench| {
            let decoy = bench.decoy()?;
            let seen = bench.outside("trace_others.py", &[&decoy.pid()])?;
            for attempt in ["read_memory", "open_memory", "environ", "pidfd_getfd", "seize"] {
                seen.reached(&format!("outsider_{attempt}"))?;
            }
            Ok(())
        }),
    },
];

fn fork_bomb(bench: &Bench) -> Result<()> {
    let seen = bench
        .program("fork_bomb.py")
        .options(&["--pids", "32"])
        .time_enough(10)
        .go()?;
    seen.exited(0)?.refused("fork", &["EAGAIN"])?;
    ensure!(
        seen.stderr.contains("Resource temporarily unavailable"),
        "stderr{}",
        seen.told()
    );
    ensure!(
        seen.number("children")? < 32.0,
        "more children than allowed{}",
        seen.told()
    );
    if bench.mode.has_cgroup() {
        seen.flagged("process_limit_hit")?;
        ensure!(
            seen.usage("processes_peak")? <= 32.0,
            "peak above the limit{}",
            seen.told()
        );
    }
    ensure!(
        seen.flag("leftover_processes_killed") > 0,
        "the children were not counted{}",
        seen.told()
    );
    Ok(())
}

fn exact_processes(bench: &Bench) -> Result<()> {
    for limit in [8.0, 20.0] {
        for kind in ["processes", "threads", "processes", "threads"] {
            let pids = format!("{limit}");
            let seen = bench
                .program("exact_processes.py")
                .args(&[kind])
                .options(&["--pids", &pids])
                .go()?;
            seen.exited(0)?;
            let (refusal, word) = match kind {
                "threads" => ("thread_refused", "can't_start_new_thread"),
                _ => ("process_refused", "EAGAIN"),
            };
            ensure!(seen.saw(refusal)? == word, "the refusal{}", seen.told());
            ensure!((seen.number(kind)? - limit).abs() < 0.5, "{kind}{}", seen.told());
            ensure!(seen.saw("finished")? == "cleanly", "end{}", seen.told());
        }
    }
    Ok(())
}

fn leave_child(bench: &Bench) -> Result<()> {
    let marker = bench.marker();
    let seen = bench
        .program("leave_child.py")
        .args(&[&marker])
        .time_enough(30)
        .go()?;
    seen.exited(0)?.flagged("leftover_processes_killed")?;
    ensure!(
        seen.elapsed < stretched(Duration::from_secs(5)),
        "waited for the child{}",
        seen.told()
    );
    ensure!(
        processes_with(&marker).is_empty(),
        "the child lives{}",
        seen.told()
    );
    Ok(())
}

fn run_past_deadline(bench: &Bench) -> Result<()> {
    let marker = bench.marker();
    let timeout = format!("{}s", roomy(Duration::from_secs(2)).as_secs());
    let run = bench
        .program("run_past_deadline.py")
        .args(&[&marker])
        .options(&["--timeout", &timeout])
        .start()?;
    // The counterpart: before the deadline it can be seen from here (by root, whatever hides pids inside).
    let was_there = wait_until(Duration::from_secs(2), || !processes_with(&marker).is_empty());
    let seen = run.finish()?;
    seen.timed_out("wall")?.printed("SAW partial output")?;
    ensure!(was_there, "the child was never seen{}", seen.told());
    ensure!(
        processes_with(&marker).is_empty(),
        "the child lives{}",
        seen.told()
    );
    Ok(())
}

fn engine_is_killed(bench: &Bench) -> Result<()> {
    let marker = bench.marker();
    let run = bench
        .program("run_past_deadline.py")
        .args(&[&marker])
        .options(&["--timeout", "50s"])
        .start()?;
    let was_there = wait_until(Duration::from_secs(20), || !processes_with(&marker).is_empty());
    run.running().signal(Signal::SIGKILL)?;
    ensure!(was_there, "the job did not start");
    let gone = wait_until(Duration::from_secs(10), || processes_with(&marker).is_empty());
    ensure!(gone, "the job outlived its engine by ten seconds");
    Ok(())
}

fn signal_everyone(bench: &Bench) -> Result<()> {
    let mut decoy = bench.decoy()?;
    let seen = bench
        .program("signal_everyone.py")
        .args(&[&decoy.pid(), "inside"])
        .go()?;
    seen.refused("kill_outsider", &["ESRCH", "EPERM"])?;
    ensure!(
        seen.saw("still")? == "here",
        "it went down with its own signals{}",
        seen.told()
    );
    seen.exited(0)?;
    ensure!(decoy.alive(), "the decoy was hit{}", seen.told());
    Ok(())
}

fn trace_others(bench: &Bench) -> Result<()> {
    let mut decoy = bench.decoy()?;
    let seen = bench
        .program("trace_others.py")
        .args(&[&decoy.pid(), "inside"])
        .go()?;
    seen.refused_everything_but(&[])?;
    ensure!(decoy.alive(), "the decoy was hit{}", seen.told());
    Ok(())
}
