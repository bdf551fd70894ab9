//! Memory by other ways than the heap, and objects of the kernel.

use super::super::{Arm, Check};
use crate::cell::Bench;
use crate::modes::Need;
use anyhow::{Result, ensure};

const SMALL: &[&str] = &["--memory", "160MiB", "--workspace", "8MiB"];
const MIB: f64 = 1_048_576.0;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "B-20",
        title: "memory of the kernel counts too, whichever way it is taken",
        needs: &[Need::Cgroup],
        body: every_way,
        arm: Arm::Shows(|bench| {
            for way in ["memfd", "shared"] {
                let run = bench.program("memory_ways.py").args(&[way, "300"]).options(SMALL);
                run.without(&["cgroup_limits"]).go()?.reached(way)?;
            }
            Ok(())
        }),
    },
    Check {
        id: "B-21",
        title: "polls, events, memory files, handles and descriptors in flight are bounded",
        needs: &[],
        body: |bench| {
            let seen = bench.program("exhaust_objects.py").go()?;
            seen.refused_everything_but(&[])?;
            seen.refused("messages with descriptors", &["ETOOMANYREFS", "EMFILE"])?;
            for what in ["epoll", "eventfd", "memfd", "pidfd", "directories"] {
                seen.refused(what, &["EMFILE"])?;
            }
            seen.printed("SAW finished cleanly").map(drop)
        },
        arm: Arm::Shows(|bench| {
            let count = |seen: &crate::seen::Seen| seen.number("eventfd_count");
            let walled = count(&bench.program("exhaust_objects.py").go()?)?;
            let open = count(&bench.program("exhaust_objects.py").without(&["rlimits"]).go()?)?;
            ensure!(open > walled, "{open} events without limits, {walled} with them");
            Ok(())
        }),
    },
];

fn every_way(bench: &Bench) -> Result<()> {
    for way in ["memfd", "shared", "files", "page_tables", "sockets", "pipes"] {
        let run = bench.program("memory_ways.py").args(&[way, "300"]).options(SMALL);
        let seen = run.options(&["--timeout", "30s"]).go()?;
        ensure!(
            seen.lines("REACHED", way).is_empty(),
            "{way}: it got its memory{}",
            seen.told()
        );
        ensure!(
            ["exited", "out_of_memory"].contains(&seen.kind()),
            "{way}: verdict{}",
            seen.told()
        );
        let peak = seen.usage("memory_peak_bytes")? / MIB;
        let most = 160.0 + bench.mode.cells.memory_of_the_runtime();
        ensure!(peak <= most, "{way}: peak {peak} MiB{}", seen.told());
        seen.printed(&format!("SAW way {way}"))?;
    }
    Ok(())
}
