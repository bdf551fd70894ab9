//! Brig's own faults: an image that is broken is told as that, and not as what the program did.

use anyhow::{Result, ensure};
use brig_tests::modes::Mode;
use brig_tests::process::{self, Done};
use brig_tests::seen::Seen;
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let trials = Mode::embedded().into_iter().map(|mode| {
        trial(
            format!("an interpreter that is not there is named [{}]", mode.name()),
            move || {
                mode.available()?;
                missing(mode)?;
                not_executable(mode)
            },
        )
    });
    run(trials.collect())
}

/// `brig run` with this interpreter.
fn brig(mode: Mode, python: &str, arguments: &[&str]) -> Result<Done> {
    let stage = Stage::set_up()?;
    let directory = stage.directory(mode)?;
    let config = directory.path().join("brig.toml");
    std::fs::write(&config, format!("[images.host]\npython = \"{python}\"\n"))?;
    let mut command = mode.command(&stage.brig);
    command.args(["run", "--embedded", "--json"]).args(arguments);
    command
        .env("BRIG_CONFIG", &config)
        .env("HOME", directory.path())
        .current_dir(directory.path());
    process::run(command, Vec::new(), Duration::from_secs(60))
}

fn missing(mode: Mode) -> Result<()> {
    let done = brig(mode, "/no/such/python3", &["-c", "print('ran')"])?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.code() == 125, "exit {}: {said}", done.code());
    for word in ["/no/such/python3", "images.host", "os error 2"] {
        ensure!(said.contains(word), "it does not say {word:?}: {said}");
    }
    Ok(())
}

/// There when Brig looks for it, and no program when a cell is to execute it.
fn not_executable(mode: Mode) -> Result<()> {
    let python = "/usr/lib/os-release";
    let seen = Seen::from_run(&brig(mode, python, &["-c", "print('ran')"])?)?;
    seen.is("setup_error", 125)?;
    ensure!(seen.report["state"] == "failed", "state{}", seen.told());
    let told = format!("{} {}", seen.report["failure"], seen.said);
    for word in [python, "images.host", "os error 13"] {
        ensure!(told.contains(word), "it does not say {word:?}{}", seen.told());
    }
    // What needs no interpreter still works, and what a program returns stays its own.
    let shell = |script: &str| Seen::from_run(&brig(mode, python, &["--", "sh", "-c", script])?);
    shell("echo shell")?.exited(0)?.printed("shell")?;
    shell("exit 127")?.exited(127).map(drop)
}
