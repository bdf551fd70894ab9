//! Environment: what a program learns about the host, its caller and other jobs.

use super::{Arm, Check};
use crate::assert::{field, processes_with};
use crate::cell::Bench;
use crate::modes::Need;
use crate::process::wait_until;
use anyhow::{Context, Result, ensure};

/// The documented variables; everything else in the environment of a program was given by the caller.
const VARIABLES: [&str; 8] = [
    "HOME", "LANG", "LOGNAME", "PATH", "TMPDIR", "USER", "PWD", "SHELL",
];

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "E-01",
        title: "the environment is the documented one, without the host's secrets",
        needs: &[],
        body: variables,
        arm: Arm::Shows(|bench| {
            let canary = "canary-0123456789";
            let reversed: String = canary.chars().rev().collect();
            let mut command = crate::process::command("/usr/bin/python3");
            command
                .arg(bench.stage.path("programs/dump_environment.py"))
                .arg(&reversed)
                .env("SECRET", canary);
            let done = crate::process::run(command, Vec::new(), std::time::Duration::from_secs(20))?;
            crate::seen::Seen::from_outside(&done).reached("canary").map(drop)
        }),
    },
    Check {
        id: "E-02",
        title: "nothing around it names the host, the user or the job",
        needs: &[],
        body: surroundings,
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("look_around.py", &[])?;
            let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
            ensure!(
                seen.stdout.contains(&host),
                "the host's name is not found outside either"
            );
            Ok(())
        }),
    },
    Check {
        id: "E-06",
        title: "host name, machine id, kernel log and addresses are hidden",
        needs: &[],
        body: |bench| {
            let seen = bench.program("host_identity.py").go()?;
            seen.refused_everything_but(&[])?;
            let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
            ensure!(seen.saw("hostname")? != host, "host name{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("host_identity.py", &[])?;
            seen.reached("kernel log")?.reached("kallsyms").map(drop)
        }),
    },
    Check {
        id: "L-03",
        title: "no process of anybody else is seen or named",
        needs: &[],
        body: |bench| {
            let marker = bench.marker();
            let beside = bench.command(&["sleep", &format!("3.{marker}")]).start()?;
            let decoy = bench.decoy()?;
            let seen = bench
                .program("see_processes.py")
                .args(&[&marker, &decoy.pid()])
                .start()?
                .report()?;
            beside.report()?.exited(0)?;
            seen.refused_everything_but(&[])?;
            ensure!(seen.number("pids")? < 10.0, "pids{}", seen.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let decoy = bench.decoy()?;
            let seen = bench.outside("see_processes.py", &["sleep", &decoy.pid()])?;
            for attempt in ["marker", "session", "priority", "handle", "exists"] {
                seen.reached(attempt)?;
            }
            Ok(())
        }),
    },
    Check {
        id: "L-04",
        title: "the id of a cell is free of processes and files when another cell gets it",
        needs: &[Need::DistinctUid, Need::HarnessRoot],
        body: reused_id,
        arm: Arm::Within,
    },
    Check {
        id: "L-01",
        title: "a job finds nothing of the one before",
        needs: &[],
        body: |bench| {
            let first = bench.program("leave_traces.py").go()?;
            first.exited(0)?;
            ensure!(
                first.lines("SAW", "left").len() >= 3,
                "it could write nowhere{}",
                first.told()
            );
            let second = bench.program("leave_traces.py").args(&["look"]).go()?;
            second.exited(0)?;
            ensure!(
                second.lines("REACHED", "trace").is_empty(),
                "traces{}",
                second.told()
            );
            ensure!(second.number("pids")? < 10.0, "pids{}", second.told());
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            bench.outside("leave_traces.py", &["outside"])?;
            let seen = bench.outside("leave_traces.py", &["look", "outside"]);
            for place in ["/tmp", "/dev/shm"] {
                std::fs::remove_file(format!("{place}/brig-trace")).ok();
            }
            seen?.reached("trace").map(drop)
        }),
    },
];

fn variables(bench: &Bench) -> Result<()> {
    let canary = "canary-9876543210";
    let reversed: String = canary.chars().rev().collect();
    let run = bench.program("dump_environment.py").args(&[&reversed]);
    let seen = run
        .host_env("SECRET_OF_THE_HOST", canary)
        .options(&["--env", "GIVEN=by the caller"])
        .go()?;
    seen.exited(0)?;
    ensure!(
        seen.lines("REACHED", "canary").is_empty(),
        "the canary{}",
        seen.told()
    );
    // What the image adds is in its definition, and shown by `brig image inspect`.
    let image = bench.mode.cells.image_root()?;
    let of_the_image = |line: &str| {
        let known = image.as_ref().and_then(|(_, known)| known["env"].as_object());
        line.split_once('=').is_some_and(|(name, value)| {
            known.is_some_and(|env| env.get(name).is_some_and(|own| own == value))
        })
    };
    let mut given = false;
    for line in seen.lines("SAW", "env") {
        let name = line.split('=').next().unwrap_or_default();
        given |= line == "GIVEN=by the caller";
        ensure!(
            name == "GIVEN" || VARIABLES.contains(&name) || of_the_image(line),
            "{line} is not documented{}",
            seen.told()
        );
    }
    ensure!(given, "--env did not arrive{}", seen.told());
    Ok(())
}

fn surroundings(bench: &Bench) -> Result<()> {
    let canary = "canary-5432109876";
    let seen = bench
        .program("look_around.py")
        .host_env("SECRET_OF_THE_HOST", canary)
        .go()?;
    seen.exited(0)?;
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let stage = bench.stage.path("").display().to_string();
    let id = seen.report["id"].as_str().unwrap_or("no id").to_owned();
    let mut hidden = vec![canary, stage.trim_end_matches('/'), "brig-tests-", id.as_str()];
    // A host may have a name as generic as a cell's.
    if host.len() > 4 && host != "localhost" {
        hidden.push(&host);
    }
    for name in hidden {
        ensure!(!seen.stdout.contains(name), "{name} can be seen{}", seen.told());
    }
    for line in seen.lines("SAW", "/etc/passwd") {
        let user = line.split(':').next().unwrap_or_default();
        ensure!(
            ["root", "agent", "nobody"].contains(&user),
            "user {user} of the host{}",
            seen.told()
        );
    }
    Ok(())
}

/// Runs that leave detached children and files behind, one after another; each next one is looked at from outside.
fn reused_id(bench: &Bench) -> Result<()> {
    let mut seen_ids = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..4 {
        let child = bench.marker();
        bench.program("leave_child.py").args(&[&child]).go()?.exited(0)?;
        ensure!(
            processes_with(&child).is_empty(),
            "a child outlives its job, and its id is given out again"
        );
        let marker = bench.marker();
        let run = bench.command(&["sleep", &format!("600.{marker}")]).start()?;
        let mut found = Vec::new();
        wait_until(std::time::Duration::from_secs(20), || {
            found = processes_with(&marker);
            !found.is_empty()
        });
        let of_one_cell = found.first().map(|pid| one_cell_has(*pid));
        run.running().signal(nix::sys::signal::Signal::SIGINT)?;
        run.report()?;
        let id = of_one_cell.context("the program was never seen")??;
        *seen_ids.entry(id).or_default() += 1;
    }
    ensure!(!seen_ids.contains_key("0"), "a cell is root on the host");
    Ok(())
}

/// The host's id of a process, where every process with that id is in its user namespace, as the cell's helpers are, too.
fn one_cell_has(pid: u32) -> Result<String> {
    let id_of = |pid: u32| -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(field(&status, "Uid:")?.split_whitespace().next()?.to_owned())
    };
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    let id = id_of(pid).context("it is gone")?;
    let own = namespace(pid).context("it is gone")?;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(other) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let shares = id_of(other).as_deref() == Some(id.as_str());
        // One that ends just now has no namespace any more.
        let elsewhere = namespace(other).is_some_and(|namespace| namespace != own);
        ensure!(
            !(shares && elsewhere),
            "process {other} has the id {id} too, and is of another cell"
        );
    }
    Ok(id)
}
