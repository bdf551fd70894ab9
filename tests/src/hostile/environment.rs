//! Environment: what a program learns about the host, its caller and other jobs.

use super::{Arm, Check};
use crate::cell::Bench;
use anyhow::{Result, ensure};

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
        arm: Arm::Within,
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
    let mut given = false;
    for line in seen.lines("SAW", "env") {
        let name = line.split('=').next().unwrap_or_default();
        given |= line == "GIVEN=by the caller";
        ensure!(
            name == "GIVEN" || VARIABLES.contains(&name),
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
