//! Other processes: descriptors from outside, whoever is behind them, names shared with another cell, PID 1.

use super::super::{Arm, Check};
use crate::assert::CLEAN_WITHIN;
use crate::cell::Bench;
use crate::process::wait_until;
use crate::skip::Skip;
use anyhow::{Result, ensure};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "B-30",
        title: "a program is given its streams and, with the runner, one pipe, and nothing else",
        needs: &[],
        body: |bench| {
            let seen = bench.program("inventory_descriptors.py").go()?;
            seen.exited(0)?;
            let given = seen.lines("SAW", "descriptor");
            ensure!(
                given == ["0 fifo", "1 fifo", "2 fifo", "250 fifo"],
                "{given:?}{}",
                seen.told()
            );
            let open = "import fcntl\nfor number in range(1024):\n    try:\n        fcntl.fcntl(number, fcntl.F_GETFD)\n    \
                        except OSError:\n        continue\n    print(number)\n";
            let seen = bench.command(&["/usr/bin/python3", "-c", open]).go()?;
            seen.exited(0)?;
            ensure!(
                seen.stdout == "0\n1\n2\n",
                "a command is given more{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let script = "exec 9</; exec /usr/bin/python3 \"$@\"";
            let seen = bench.outside_by(&["sh", "-c", script, "sh"], "inventory_descriptors.py", &[])?;
            let given = seen.lines("SAW", "descriptor");
            ensure!(
                given.contains(&"9 directory"),
                "an inherited directory is not seen: {given:?}"
            );
            Ok(())
        }),
    },
    Check {
        id: "B-31",
        title: "no socket leads to a process outside, to be named or signalled",
        needs: &[],
        body: |bench| {
            let seen = bench.program("peer_of_channel.py").go()?;
            seen.exited(0)?;
            ensure!(
                seen.lines("REACHED", "signal by pidfd").is_empty(),
                "{}",
                seen.told()
            );
            seen.printed("SAW looked")?;
            for peer in seen.lines("SAW", "peer") {
                let pid = peer.split(' ').next().unwrap_or_default();
                ensure!(
                    ["0", "itself"].contains(&pid),
                    "the peer has a pid in the cell: {peer}{}",
                    seen.told()
                );
            }
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("peer_of_channel.py", &["outside"])?;
            let reached = seen.reached("signal by pidfd").is_ok();
            ensure!(
                reached,
                Skip::because("this kernel gives no handle of a socket's peer")
            );
            Ok(())
        }),
    },
    Check {
        id: "B-32",
        title: "two cells share no name: files, sockets, ports, queues",
        needs: &[],
        body: |bench| {
            let name = format!("brig-mark-{}", bench.marker());
            let marks = bench.program("shared_names.py").args(&[&name, "2.5"]).start()?;
            let seen = bench.program("shared_names.py").args(&[&name, "find"]).start()?;
            let seen = seen.report()?;
            marks.report()?.exited(0)?.printed("SAW marked everything")?;
            seen.refused_everything_but(&[])?;
            seen.printed("SAW looked everywhere").map(drop)
        },
        arm: Arm::Shows(|bench| {
            let name = format!("brig-mark-{}", bench.marker());
            let program = bench.stage.path("programs/shared_names.py");
            let mut command = crate::process::command("/usr/bin/python3");
            command.arg(program).args([&name, "1.5"]);
            let marks = crate::process::start(command, Vec::new())?;
            let mut seen = bench.outside("shared_names.py", &[&name, "find"])?;
            // The other one may still be starting.
            wait_until(std::time::Duration::from_secs(1), || {
                let found = seen.reached("abstract socket").is_ok();
                if !found && let Ok(again) = bench.outside("shared_names.py", &[&name, "find"]) {
                    seen = again;
                }
                found
            });
            marks.finish(std::time::Duration::from_secs(20))?;
            seen.reached("abstract socket")?
                .reached("tcp port")?
                .reached(&format!("file /tmp/{name}"))
                .map(drop)
        }),
    },
    Check {
        id: "B-33",
        title: "no signal of any number harms PID 1",
        needs: &[],
        body: |bench| {
            let seen = bench.program("all_signals.py").args(&["1"]).go()?;
            seen.exited(0)?;
            ensure!(seen.saw("still")? == "here", "{}", seen.told());
            // The limit in time is PID 1's work: it still does it.
            let run = bench.program("all_signals.py").args(&["1", "stay"]);
            let seen = run.options(&["--timeout", "1500ms"]).go()?;
            seen.timed_out("wall").map(drop)
        },
        arm: Arm::Shows(|bench| {
            let mut decoy = bench.decoy()?;
            bench.outside("all_signals.py", &[&decoy.pid()])?;
            ensure!(wait_until(CLEAN_WITHIN, || !decoy.alive()), "the decoy survived");
            Ok(())
        }),
    },
    Check {
        id: "B-34",
        title: "/proc tells nothing about PID 1",
        needs: &[],
        body: |bench| {
            let seen = bench.program("read_init.py").args(&["1"]).go()?;
            seen.refused_everything_but(&[]).map(drop)
        },
        arm: Arm::Shows(|bench| {
            let decoy = bench.decoy()?;
            let seen = bench.outside("read_init.py", &[&decoy.pid()])?;
            for name in ["maps", "environ", "cmdline", "fd", "link exe", "link root"] {
                seen.reached(name)?;
            }
            Ok(())
        }),
    },
    Check {
        id: "B-35",
        title: "variables that change the loader and the interpreter change only the program's own",
        needs: &[],
        body: variables,
        arm: Arm::Within,
    },
    Check {
        id: "B-36",
        title: "who starts Brig with `nice` gets nice jobs",
        needs: &[crate::modes::Need::Embedded],
        body: nice,
        arm: Arm::NoRefusal,
    },
];

fn variables(bench: &Bench) -> Result<()> {
    let collect = bench.stage.directory(bench.mode)?;
    let into = collect.path().display().to_string();
    let mut run =
        bench.code("open('made.txt', 'w').write('made'); import os; print(os.environ['PYTHONPATH'])");
    for variable in [
        "LD_PRELOAD=/workspace/evil.so",
        "LD_LIBRARY_PATH=/workspace",
        "LD_AUDIT=/workspace/evil.so",
        "PYTHONPATH=/workspace",
        "PYTHONSTARTUP=/workspace/evil.py",
        "GCONV_PATH=/workspace",
        "MALLOC_CHECK_=3",
        "PATH=/workspace:/usr/bin:/bin",
        "BRIG_CONTROL_ARM=seccomp",
        "HOME=/nonexistent",
    ] {
        run = run.options(&["--env", variable]);
    }
    let seen = run.options(&["--out", "*.txt", "--out-dir", &into]).go()?;
    seen.exited(0)?.printed("/workspace")?;
    ensure!(
        seen.layer("seccomp")["state"] == "active",
        "a layer is off{}",
        seen.told()
    );
    let made = std::fs::read(collect.path().join("made.txt"))?;
    ensure!(made == b"made", "the output{}", seen.told());
    for name in ["=x", "A\u{1}B=x", "BRIG", ""] {
        let refused = match bench
            .code("print('ran')")
            .options(&["--env", name])
            .start()?
            .report()
        {
            Ok(seen) => seen.code != 0 && !seen.stdout.contains("ran"),
            Err(_no_report) => true,
        };
        ensure!(refused || name == "A\u{1}B=x", "--env {name:?} was accepted");
    }
    Ok(())
}

fn nice(bench: &Bench) -> Result<()> {
    let mut command = bench.mode.command(std::path::Path::new("/usr/bin/nice"));
    let home = bench.stage.directory(bench.mode)?;
    command
        .args(["-n", "5"])
        .arg(&bench.stage.brig)
        .args(["run", "--embedded", "--json", "-c"])
        .arg("import os; print('SAW nice', os.nice(0))")
        .current_dir(home.path())
        .env("HOME", home.path());
    let done = crate::process::run(command, Vec::new(), std::time::Duration::from_secs(60))?;
    let seen = crate::seen::Seen::from_run(&done)?;
    seen.exited(0)?;
    let root = bench.mode.privilege == crate::modes::Privilege::Root;
    ensure!(
        root || seen.number("nice")? >= 5.0,
        "it is not nice{}",
        seen.told()
    );
    Ok(())
}
