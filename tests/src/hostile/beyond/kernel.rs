//! The kernel's surface: rare calls, foreign ABIs, terminals, crashes, the network's settings, floods of refused calls.

use super::super::{Arm, Check};
use crate::cell::Bench;
use crate::skip::Skip;
use anyhow::{Result, ensure};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "B-10",
        title: "a hundred calls with a history never reach the kernel",
        needs: &[],
        body: |bench| {
            let seen = bench.program("kernel_surface.py").go()?;
            seen.refused_everything_but(&[])?;
            let tried = seen
                .stdout
                .lines()
                .filter(|line| line.starts_with("REFUSED "))
                .count();
            ensure!(tried >= 60, "only {tried} calls were tried{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.program("kernel_surface.py").without(&["seccomp"]).go()?;
            let reached = seen
                .stdout
                .lines()
                .filter(|line| line.starts_with("REACHED "))
                .count();
            ensure!(
                reached >= 40,
                "only {reached} calls reach the kernel{}",
                seen.told()
            );
            Ok(())
        }),
    },
    Check {
        id: "B-11",
        title: "a call of the 32-bit ABI ends the program as refused_call",
        needs: &[],
        body: |bench| {
            on_x86_64()?;
            let seen = bench.program("foreign_abi_32.py").go()?;
            seen.is("refused_call", 159)?
                .printed("SAW partial output")
                .map(drop)
        },
        arm: Arm::Shows(|bench| {
            on_x86_64()?;
            let seen = bench.outside("foreign_abi_32.py", &[])?;
            ensure!(
                seen.code == 0,
                Skip::because("this kernel has no 32-bit calls itself")
            );
            seen.reached("int80").map(drop)
        }),
    },
    Check {
        id: "B-12",
        title: "no input can be pushed into a terminal, and there is none but its own",
        needs: &[],
        body: |bench| {
            let seen = bench.program("terminal_tricks.py").go()?;
            seen.refused_everything_but(&[])?;
            ensure!(seen.saw("pts")? == "0 ptmx", "terminals of others{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("terminal_tricks.py", &["outside"])?;
            seen.reached("push input").map(drop)
        }),
    },
    Check {
        id: "B-13",
        title: "a crash leaves no core file and starts no handler of the host",
        needs: &[],
        body: |bench| {
            let seen = bench.program("crash_hard.py").go()?;
            seen.is("signalled", 134)?;
            // 1, not 0: with a limit of 0 the kernel still starts the program that the host's pattern names.
            ensure!(seen.saw("limit")? == "1 1", "limit{}", seen.told());
            seen.refused("core limit 0", &["EPERM", "ValueError"])?;
            seen.refused("core limit unlimited", &["EPERM", "ValueError"])?;
            ensure!(seen.saw("files")? == "0", "core files{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let run = bench.program("crash_hard.py").args(&["limit"]);
            let seen = run.without(&["seccomp", "rlimits"]).go()?;
            seen.reached("core limit 0").map(drop)
        }),
    },
    Check {
        id: "B-14",
        title: "the cell's network cannot be changed, and netlink has one protocol",
        needs: &[],
        body: |bench| {
            let seen = bench.program("change_network.py").go()?;
            seen.refused_everything_but(&[]).map(drop)
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside_by(
                &["unshare", "--net", "/usr/bin/python3"],
                "change_network.py",
                &[],
            )?;
            seen.reached("address")?.reached("netlink 15").map(drop)
        }),
    },
    Check {
        id: "B-15",
        title: "nothing below its own /proc entry gives power",
        needs: &[],
        body: |bench| {
            let seen = bench.program("own_proc_writes.py").go()?;
            seen.refused_everything_but(&[]).map(drop)
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("own_proc_writes.py", &[])?;
            seen.reached("sysctl core_pattern")?
                .reached("sysctl drop_caches")?
                .reached("setgroups")
                .map(drop)
        }),
    },
    Check {
        id: "B-16",
        title: "a storm of refused calls ends by itself, is counted to a bound, and slows no other job down for long",
        needs: &[],
        body: refusal_storm,
        arm: Arm::Within,
    },
];

fn on_x86_64() -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        Skip::because("only x86_64 has the 32-bit calls of x86")
    );
    Ok(())
}

fn refusal_storm(bench: &Bench) -> Result<()> {
    let storm = |calls: &str| {
        let run = bench.program("refusal_storm.py").args(&[calls]);
        run.options(&["--timeout", "60s"]).start()
    };
    let small = storm("50")?.finish()?;
    small.exited(0)?;
    ensure!(
        small.flag("refused_calls_truncated") == 0,
        "50 are too many{}",
        small.told()
    );
    if small.refusals_are_reported() {
        ensure!(
            small.refused_call("swapon") == 50,
            "50 are counted otherwise{}",
            small.told()
        );
    }
    let large = storm("100000")?;
    // Beside it, another job is served.
    let beside = bench.code("print('beside')").start()?.report()?;
    beside.exited(0)?.printed("beside")?;
    let seen = large.finish()?;
    seen.exited(0)?;
    ensure!(seen.saw("still")? == "here", "{}", seen.told());
    if seen.refusals_are_reported() {
        seen.flagged("refused_calls_truncated")?;
    }
    Ok(())
}
