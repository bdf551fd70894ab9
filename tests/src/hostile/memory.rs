//! Memory: the limit of the whole cell, its counters, and handles of the kernel.

use super::{Arm, Check};
use crate::assert::processes_with;
use crate::cell::Bench;
use crate::modes::Need;
use crate::process::wait_until;
use anyhow::{Context, Result, ensure};

const MIB: f64 = 1_048_576.0;
const SMALL: &[&str] = &["--memory", "160MiB", "--workspace", "8MiB"];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "M-01",
        title: "too much memory ends the job as out_of_memory",
        needs: &[Need::Cgroup],
        body: |bench| {
            let seen = bench
                .program("memory_hog.py")
                .args(&["400"])
                .options(SMALL)
                .go()?;
            seen.is("out_of_memory", 137)?.printed("SAW partial output")?;
            let peak = seen.usage("memory_peak_bytes")? / MIB;
            let most = 160.0 + bench.mode.cells.memory_of_the_runtime();
            ensure!((100.0..=most).contains(&peak), "peak {peak} MiB{}", seen.told());
            ensure!(
                seen.said.contains("memory") || seen.report.to_string().contains("--memory"),
                "no hint{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            bench
                .outside("memory_hog.py", &["400"])?
                .reached("memory")
                .map(drop)
        }),
    },
    Check {
        id: "M-01b",
        title: "without a control group the memory of a process is limited",
        needs: &[],
        body: |bench| {
            let seen = bench
                .program("memory_hog.py")
                .args(&["400"])
                .options(SMALL)
                .go()?;
            ensure!(
                seen.lines("REACHED", "memory").is_empty(),
                "it got its memory{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Within,
    },
    Check {
        id: "M-03",
        title: "each job has its own memory limit",
        needs: &[Need::Cgroup],
        body: |bench| {
            let run = || {
                bench
                    .program("memory_hold.py")
                    .args(&["100", "0.7"])
                    .options(SMALL)
                    .start()
            };
            let together = [run()?, run()?, run()?];
            for one in together {
                one.report()?.exited(0)?.reached("memory")?;
            }
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "M-05",
        title: "a huge sparse mapping is answered, not fatal",
        needs: &[],
        body: |bench| {
            let seen = bench.program("sparse_map.py").go()?;
            seen.exited(0)?.printed("SAW finished cleanly").map(drop)
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "M-07",
        title: "a cell has no swap",
        needs: &[Need::Cgroup, Need::HarnessRoot],
        body: no_swap,
        arm: Arm::Shows(|bench| {
            let limits = with_running_cell(bench, &["cgroup_limits"], swap_and_memory)?;
            // Without a limit the kernel says `max`, or a number that no machine has.
            let unlimited = |limit: &str| limit.parse::<u64>().map_or(true, |bytes| bytes > 1 << 50);
            let swap = limits.map_or_else(|_no_such_file| "max".to_owned(), |(swap, _)| swap);
            ensure!(
                unlimited(&swap),
                "without its limits a cell has {swap} of swap, too"
            );
            Ok(())
        }),
    },
    Check {
        id: "M-08",
        title: "a child killed for memory is a flag, the main process goes on",
        needs: &[Need::Cgroup],
        body: |bench| {
            let seen = bench
                .program("child_out_of_memory.py")
                .args(&["400"])
                .options(SMALL)
                .go()?;
            seen.exited(0)?.flagged("children_out_of_memory")?;
            ensure!(seen.saw("child_ended")? == "-9", "child{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            bench
                .outside("child_out_of_memory.py", &["400"])?
                .reached("child_memory")
                .map(drop)
        }),
    },
    Check {
        id: "M-11",
        title: "the peak is counted and not carried over",
        needs: &[Need::Cgroup],
        body: |bench| {
            let peak = |mib: &str| -> Result<f64> {
                let seen = bench.program("memory_hold.py").args(&[mib, "0"]).go()?;
                seen.exited(0)?;
                Ok(seen.usage("memory_peak_bytes")? / MIB)
            };
            let (large, small) = (peak("200")?, peak("20")?);
            ensure!((195.0..240.0).contains(&large), "200 MiB counted as {large}");
            ensure!((18.0..60.0).contains(&small), "20 MiB counted as {small}");
            Ok(())
        },
        arm: Arm::Within,
    },
    Check {
        id: "M-12",
        title: "handles of the kernel are bounded",
        needs: &[],
        body: |bench| {
            let seen = bench.program("exhaust_handles.py").go()?;
            seen.refused_everything_but(&[])?;
            for what in ["files", "pipes", "sockets"] {
                seen.refused(what, &["EMFILE", "ENFILE", "ENOMEM"])?;
            }
            seen.refused("locked_memory", &["ENOMEM", "EPERM", "EAGAIN"])?;
            seen.printed("SAW finished cleanly").map(drop)
        },
        arm: Arm::Within,
    },
];

/// What the group of a running cell says about swap: the limit on swap itself (version 2) or on both together, and the
/// limit on memory.
fn swap_and_memory(pid: u32) -> Result<(String, String)> {
    let file = |number: usize| {
        let (controller, first, second) = crate::groups::LIMITS[number];
        let name = if crate::groups::is_v2() { second } else { first };
        crate::groups::read(pid, controller, name)
    };
    Ok((file(1)?, file(0)?))
}

fn with_running_cell<T>(bench: &Bench, without: &[&'static str], look: impl Fn(u32) -> T) -> Result<T> {
    let marker = bench.marker();
    let run = bench
        .command(&["sleep", &format!("600.{marker}")])
        .without(without)
        .start()?;
    let mut found = Vec::new();
    wait_until(std::time::Duration::from_secs(20), || {
        found = processes_with(&marker);
        !found.is_empty()
    });
    let seen = found.first().map(|pid| look(*pid));
    run.running().signal(nix::sys::signal::Signal::SIGINT)?;
    run.report()?;
    seen.context("the program was never seen")
}

fn no_swap(bench: &Bench) -> Result<()> {
    let (swap, memory) = with_running_cell(bench, &[], swap_and_memory)??;
    let none = if crate::groups::is_v2() {
        "0"
    } else {
        memory.as_str()
    };
    ensure!(
        swap == none,
        "limit on swap {swap} with a limit on memory of {memory}"
    );
    // Where the host has swap, the verdict must come as fast as without.
    let began = std::time::Instant::now();
    let seen = bench
        .program("memory_hog.py")
        .args(&["400"])
        .options(SMALL)
        .go()?;
    seen.is("out_of_memory", 137)?;
    ensure!(
        began.elapsed() < crate::slack::stretched(std::time::Duration::from_secs(10)),
        "it took {:?}{}",
        began.elapsed(),
        seen.told()
    );
    bench.code("print('next')").go()?.exited(0).map(drop)
}
