//! CPU and time: every deadline, whatever the program does about it.

use super::{Arm, Check};
use crate::cell::Bench;
use crate::modes::Need;
use crate::seen::Seen;
use crate::slack::{is_busy, roomy, stretched, stretched_ms};
use anyhow::{Result, ensure};
use std::time::Duration;

/// How late a deadline may be in milliseconds, besides the start and end of `brig run` itself.
const LATE: f64 = 500.0;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "T-01",
        title: "a busy loop ends at its wall-clock limit",
        needs: &[],
        body: |bench| wall(bench, "busy_loop.py", 1_000.0).map(drop),
        arm: Arm::Within,
    },
    Check {
        id: "T-02",
        title: "a sleeper ends at its wall-clock limit and used no CPU",
        needs: &[],
        body: |bench| {
            let seen = wall(bench, "sleep_forever.py", 1_000.0)?;
            ensure!(
                seen.usage("cpu_ms")? < stretched_ms(400.0),
                "CPU time{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Within,
    },
    Check {
        id: "T-03",
        title: "CPU time of all processes together is limited",
        needs: &[Need::Cgroup],
        body: |bench| {
            let options = ["--cpu-time", "1s", "--timeout", "20s"];
            let seen = bench.program("burn_in_processes.py").options(&options).go()?;
            seen.timed_out("cpu")?.printed("SAW partial output")?;
            let cpu = seen.usage("cpu_ms")?;
            ensure!(
                (1_000.0..=1_000.0 + stretched_ms(200.0)).contains(&cpu),
                "{cpu} ms of CPU time{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Within,
    },
    Check {
        id: "T-03b",
        title: "CPU time of one process is limited, with a control group or without",
        needs: &[],
        body: |bench| {
            let options = ["--cpu-time", "1s", "--timeout", "20s"];
            let seen = bench.program("busy_loop.py").options(&options).go()?;
            seen.timed_out("cpu").map(drop)
        },
        arm: Arm::Within,
    },
    Check {
        id: "T-05",
        title: "a program that ignores every signal ends at its limit",
        needs: &[],
        body: |bench| wall(bench, "ignore_signals.py", 1_000.0).map(drop),
        arm: Arm::Within,
    },
    Check {
        id: "T-07",
        title: "eight busy processes get one CPU",
        needs: &[Need::Cgroup],
        body: |bench| {
            let seen = bench.program("burn_for.py").args(&["4"]).go()?;
            seen.exited(0)?;
            let cpus = seen.number("cpus")?;
            ensure!(cpus <= 1.1, "{cpus} CPUs{}", seen.told());
            ensure!(
                cpus >= 0.85 || is_busy()?,
                "{cpus} CPUs on an idle machine{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let cores = std::thread::available_parallelism()?.get();
            ensure!(cores > 1, crate::skip::Skip::because("this machine has one core"));
            let cpus = bench.outside("burn_for.py", &["2"])?.number("cpus")?;
            ensure!(
                cpus > 1.15 || !is_busy()?,
                crate::skip::Skip::because("this machine is busy with other work")
            );
            ensure!(cpus > 1.15, "outside it got {cpus} CPUs");
            Ok(())
        }),
    },
    Check {
        id: "T-08",
        title: "a program that ends before its limits is not touched by them",
        needs: &[],
        body: |bench| {
            let cpu_time = format!("{}s", stretched(Duration::from_secs(5)).as_secs());
            let seen = bench
                .code("print(6 * 7)")
                .options(&["--cpu-time", &cpu_time])
                .time_enough(5)
                .go()?;
            seen.exited(0)?;
            ensure!(
                seen.stdout == "42\n" && seen.elapsed < stretched(Duration::from_secs(4)),
                "{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
];

/// Runs `program` with a wall-clock limit and asserts that it ended there.
fn wall(bench: &Bench, program: &str, limit: f64) -> Result<Seen> {
    let limit = roomy(Duration::from_secs_f64(limit / 1_000.0)).as_secs_f64() * 1_000.0;
    let timeout = format!("{limit}ms");
    let seen = bench.program(program).options(&["--timeout", &timeout]).go()?;
    seen.timed_out("wall")?.printed("SAW partial output")?;
    let wall = seen.usage("wall_ms")?;
    ensure!(
        wall >= limit - 1.0 && wall <= limit + stretched_ms(LATE),
        "{wall} ms of {limit}{}",
        seen.told()
    );
    ensure!(
        seen.elapsed < Duration::from_secs_f64(limit / 1_000.0) + stretched(Duration::from_secs(3)),
        "the caller waited too long{}",
        seen.told()
    );
    Ok(seen)
}
