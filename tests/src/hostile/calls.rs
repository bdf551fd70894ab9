//! System calls: what the filter refuses, how it says so, and that it holds for every task.

use super::{Arm, Check};
use crate::cell::Bench;
use crate::modes::Need;
use crate::seen::Seen;
use anyhow::{Result, ensure};

/// How calls are refused: known ones with EPERM, probed ones as if the kernel did not have them. Arguments that
/// the kernel checks first may fail otherwise.
const REFUSALS: &[&str] = &["EPERM", "ENOSYS", "EACCES"];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "S-01",
        title: "nothing can be mounted, unmounted or pivoted",
        needs: &[],
        body: |bench| {
            let seen = refused(bench, "mount_family.py", &[])?;
            counted(&seen, &["mount", "umount2", "chroot", "pivot_root"])
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.unshared("mount_family.py", &[])?;
            seen.reached("mount tmpfs")?
                .reached("mount bind")?
                .reached("fsopen")?
                .reached("chroot")
                .map(drop)
        }),
    },
    Check {
        id: "S-02",
        title: "no new namespace; clone3 is unknown so that libc falls back",
        needs: &[],
        body: |bench| {
            let seen = refused(bench, "new_namespaces.py", &[])?;
            seen.refused("clone3", &["ENOSYS"])?;
            ensure!(
                seen.refused_call("clone3") == 0,
                "a mere probe was counted{}",
                seen.told()
            );
            counted(&seen, &["unshare", "setns"])
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("new_namespaces.py", &[])?;
            for attempt in [
                "unshare user",
                "unshare mount",
                "clone net",
                "clone pid",
                "setns",
                "clone3",
            ] {
                seen.reached(attempt)?;
            }
            Ok(())
        }),
    },
    Check {
        id: "S-03",
        title: "bpf, perf, userfaultfd, io_uring and their kind are refused",
        needs: &[],
        body: |bench| {
            let seen = refused(bench, "kernel_facilities.py", &[])?;
            counted(&seen, &["bpf", "perf_event_open"])
        },
        arm: Arm::Shows(|bench| {
            // Which of them a kernel has at all depends on its build.
            let seen = bench.outside("kernel_facilities.py", &[])?;
            let had = [
                "bpf",
                "userfaultfd",
                "io_uring_setup",
                "name_to_handle_at",
                "personality",
                "syslog",
            ];
            let reached = had.iter().filter(|name| seen.reached(name).is_ok()).count();
            ensure!(
                reached >= 2,
                "outside hardly anything works either{}",
                seen.told()
            );
            Ok(())
        }),
    },
    Check {
        id: "S-04",
        title: "the key rings are out of reach",
        needs: &[],
        body: |bench| refused(bench, "keyrings.py", &[]).map(drop),
        arm: Arm::Shows(|bench| bench.outside("keyrings.py", &[])?.reached("keyctl").map(drop)),
    },
    Check {
        id: "S-05",
        title: "the machine cannot be changed; the record of each call is the proof",
        needs: &[],
        body: |bench| {
            let seen = refused(bench, "change_host.py", &[])?;
            counted(
                &seen,
                &[
                    "sethostname",
                    "init_module",
                    "kexec_load",
                    "reboot",
                    "swapon",
                    "acct",
                    "settimeofday",
                ],
            )
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.unshared("change_host.py", &["names"])?;
            seen.reached("sethostname")?.reached("setdomainname").map(drop)
        }),
    },
    Check {
        id: "S-08",
        title: "an unknown call is ENOSYS and counted, and the program goes on",
        needs: &[],
        body: |bench| {
            let seen = bench.program("unknown_call.py").go()?;
            seen.exited(0)?
                .refused("future", &["ENOSYS"])?
                .refused("swapon", &["EPERM"])?;
            ensure!(seen.saw("went")? == "on", "{}", seen.told());
            if seen.refusals_are_reported() {
                ensure!(
                    seen.refused_call("swapon") == 1,
                    "swapon is not counted once{}",
                    seen.told()
                );
                let calls = seen.report["refused_calls"].to_string();
                ensure!(
                    calls.contains("4000"),
                    "the unknown call is not named by its number{}",
                    seen.told()
                );
            }
            Ok(())
        },
        arm: Arm::Within,
    },
    Check {
        id: "S-06",
        title: "a call of a foreign ABI ends the program as refused_call",
        needs: &[],
        body: |bench| {
            if !cfg!(target_arch = "x86_64") {
                return Err(crate::skip::Skip::because("only x86_64 has x32 calls").into());
            }
            let seen = bench.program("foreign_abi.py").go()?;
            seen.is("refused_call", 159)?
                .printed("SAW partial output")
                .map(drop)
        },
        arm: Arm::Within,
    },
    Check {
        id: "S-09",
        title: "the filter and no_new_privs hold for every task",
        needs: &[],
        body: |bench| {
            let seen = bench.program("every_task.py").go()?;
            seen.exited(0)?;
            let tasks = seen.lines("SAW", "task");
            ensure!(tasks.len() >= 7, "too few tasks{}", seen.told());
            for task in tasks {
                let fields: Vec<&str> = task.split_whitespace().skip(1).collect();
                let none = "0000000000000000";
                ensure!(fields == ["2", "1", none, none], "task {task}{}", seen.told());
            }
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("every_task.py", &[])?;
            let unfiltered = seen
                .lines("SAW", "task")
                .iter()
                .any(|task| task.contains(" 0 0 "));
            ensure!(unfiltered, "outside every task is filtered too");
            Ok(())
        }),
    },
    Check {
        id: "S-11",
        title: "a level that the host cannot give is refused with what to do",
        needs: &[Need::Embedded],
        body: |bench| {
            if bench.mode.has_cgroup() {
                let seen = bench
                    .code("print('ran')")
                    .options(&["--isolation", "strict"])
                    .go()?;
                seen.exited(0)?;
                ensure!(
                    seen.report["receipt"]["level"] == "strict",
                    "level{}",
                    seen.told()
                );
                return Ok(());
            }
            let seen = bench
                .code("print('ran')")
                .options(&["--isolation", "strict"])
                .start()?
                .report()?;
            ensure!(
                seen.code == 125 && !seen.stdout.contains("ran"),
                "it ran with less{}",
                seen.told()
            );
            ensure!(seen.kind() == "setup_error", "verdict{}", seen.told());
            let told = format!("{} {}", seen.said, seen.report);
            ensure!(
                told.contains("cgroup") || told.contains("subordinate"),
                "no remedy{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Within,
    },
    Check {
        id: "S-13",
        title: "the receipt names every layer of the mode",
        needs: &[],
        body: receipt,
        arm: Arm::NoRefusal,
    },
];

fn refused(bench: &Bench, program: &str, arguments: &[&str]) -> Result<Seen> {
    let seen = bench.program(program).args(arguments).go()?;
    seen.refused_everything_but(&[])?;
    for line in seen
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("REFUSED "))
    {
        let word = line.rsplit(' ').next().unwrap_or_default();
        ensure!(
            REFUSALS.contains(&word),
            "{line}: not one of {REFUSALS:?}{}",
            seen.told()
        );
    }
    Ok(seen)
}

/// The listener's record: the call came and was refused by the filter, not by its arguments.
fn counted(seen: &Seen, calls: &[&str]) -> Result<()> {
    if seen.refusals_are_reported() {
        for call in calls {
            ensure!(
                seen.refused_call(call) > 0,
                "{call} is not among the refused calls{}",
                seen.told()
            );
        }
    }
    Ok(())
}

fn receipt(bench: &Bench) -> Result<()> {
    let seen = bench.code("pass").go()?;
    seen.exited(0)?;
    ensure!(
        seen.report["receipt"]["level"] == bench.mode.default_level(),
        "level{}",
        seen.told()
    );
    for layer in ["namespaces", "root", "identity", "seccomp", "landlock", "rlimits"] {
        ensure!(
            seen.layer(layer)["state"] == "active",
            "layer {layer}{}",
            seen.told()
        );
    }
    for (layer, is_there) in [
        ("cgroup", bench.mode.has_cgroup()),
        ("uid", bench.mode.has_own_uid()),
    ] {
        let expected = if is_there { "active" } else { "missing" };
        ensure!(
            seen.layer(layer)["state"] == expected,
            "layer {layer} is not {expected}{}",
            seen.told()
        );
    }
    Ok(())
}
