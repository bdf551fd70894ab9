//! Sideways: what one job could do to the service and to the jobs beside it, without leaving its cell.

use super::{Arm, Check};
use crate::modes::Need;
use anyhow::ensure;
use std::time::{Duration, Instant};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "L-20",
        title: "a program can hand no descriptor to the daemon, whose close would wait for as long as it chose",
        needs: &[],
        body: |bench| {
            let seen = bench.program("hand_over_descriptors.py").go()?;
            seen.exited(0)?;
            seen.refused_everything_but(&[])?;
            ensure!(
                seen.lines("REFUSED", "hand_over").len() >= 4,
                "stdio and the runner's pipe were not tried{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("hand_over_descriptors.py", &["demonstrate"])?;
            let waited = seen.reached("hand_over")?.number("received_in")?;
            ensure!(waited > 1.0, "the receiver did not wait{}", seen.told());
            Ok(())
        }),
    },
    Check {
        id: "L-21",
        title: "the terminals of one cell are counted, so that the others get theirs",
        needs: &[],
        body: |bench| {
            let seen = bench.program("take_terminals.py").go()?;
            let taken = seen.exited(0)?.number("terminals")?;
            ensure!((1.0..=64.0).contains(&taken), "{taken} terminals{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("take_terminals.py", &[])?;
            ensure!(seen.number("terminals")? > 200.0, "few terminals{}", seen.told());
            Ok(())
        }),
    },
    Check {
        id: "L-22",
        title: "what is queued in sockets is limited, and not taken from the TCP memory of the host",
        needs: &[Need::Cgroup],
        body: |bench| {
            let run = bench.program("fill_sockets.py");
            let seen = run
                .options(&["--memory", "160MiB", "--workspace", "16MiB"])
                .go()?;
            // Version 2 counts sockets as memory, so there the memory limit may end the program.
            if seen.kind() == "out_of_memory" {
                return seen.is("out_of_memory", 137).map(drop);
            }
            let filled = seen.exited(0)?.number("mebibytes")?;
            ensure!((1.0..=120.0).contains(&filled), "{filled} MiB{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("fill_sockets.py", &[])?;
            ensure!(seen.number("mebibytes")? >= 240.0, "little{}", seen.told());
            Ok(())
        }),
    },
    Check {
        id: "L-23",
        title: "a program that queues descriptors keeps no other job from starting",
        needs: &[],
        body: |bench| {
            let hog = bench.program("queue_descriptors.py").start()?;
            let mut others = 0;
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(6) {
                let other = bench.command(&["true"]).start()?.report()?;
                other.exited(0)?;
                ensure!(
                    other.elapsed < Duration::from_secs(3),
                    "it waited{}",
                    other.told()
                );
                others += 1;
            }
            let hog = hog.report()?;
            ensure!(hog.exited(0)?.number("queued")? > 500.0, "few{}", hog.told());
            ensure!(others > 1, "no other job while it held them{}", hog.told());
            Ok(())
        },
        arm: Arm::Within,
    },
    Check {
        id: "L-24",
        title: "a crash starts no collector of core dumps on the host",
        needs: &[],
        body: |bench| {
            let seen = bench.program("dump_core.py").go()?;
            seen.exited(0)?.refused_everything_but(&[])?;
            for when in ["limits", "limits_then"] {
                ensure!(seen.saw(when)? == "1 1", "{when}{}", seen.told());
            }
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("dump_core.py", &[])?;
            seen.reached("both_0").map(drop)
        }),
    },
];
