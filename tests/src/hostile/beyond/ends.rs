//! Odd ends: whatever a program does with its streams, its threads and its children, the verdict is the kernel's.

use super::super::{Arm, Check};
use crate::cell::Bench;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "B-40",
        title: "orphans and dead children by the thousand are reaped and counted",
        needs: &[],
        body: |bench| {
            let run = bench.program("orphan_storm.py");
            let seen = run.options(&["--timeout", "60s", "--pids", "32"]).go()?;
            seen.exited(0)?;
            ensure!(seen.saw("zombies_refused")? == "EAGAIN", "limit{}", seen.told());
            ensure!(
                seen.number("zombies")? < 32.0,
                "more children than allowed{}",
                seen.told()
            );
            ensure!(seen.saw("goes")? == "on", "it could not go on{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("orphan_storm.py", &[])?;
            ensure!(
                seen.saw("zombies_refused")? == "never",
                "outside there is a limit, too{}",
                seen.told()
            );
            Ok(())
        }),
    },
    Check {
        id: "B-41",
        title: "odd ends have the verdict that the kernel saw",
        needs: &[],
        body: odd_ends,
        arm: Arm::Within,
    },
    Check {
        id: "B-42",
        title: "a program without its leading thread ends at its limit",
        needs: &[],
        body: |bench| {
            let run = bench
                .program("odd_ends.py")
                .args(&["leader exits and the rest stays"]);
            let seen = run.options(&["--timeout", "1500ms"]).go()?;
            seen.timed_out("wall").map(drop)
        },
        arm: Arm::Within,
    },
];

fn odd_ends(bench: &Bench) -> Result<()> {
    for (way, code) in [
        ("close everything", 9),
        ("close output and go on", 5),
        ("become another", 7),
        ("leader exits", 6),
        ("hold the pipes", 4),
    ] {
        let run = bench.program("odd_ends.py").args(&[way]);
        let seen = run.options(&["--timeout", "20s"]).go()?;
        seen.exited(code)?.printed(&format!("SAW begun {way}"))?;
        ensure!(
            seen.elapsed < crate::slack::stretched(Duration::from_secs(8)),
            "{way}: the caller waited too long{}",
            seen.told()
        );
    }
    let another = bench.program("odd_ends.py").args(&["become another"]).go()?;
    another.printed("another\n")?;
    // The stack has its limit: a fault of the program, not of Brig.
    let seen = bench.program("odd_ends.py").args(&["unwind forever"]).go()?;
    ensure!(
        ["signalled", "exited", "out_of_memory"].contains(&seen.kind()) && seen.code != 0,
        "{}",
        seen.told()
    );
    let seen = bench.program("odd_ends.py").args(&["abort in exit"]).go()?;
    seen.is("signalled", 134).map(drop)
}
