//! Brig's own faults: an image that is broken is told as that, and not as what the program did.

use anyhow::{Result, ensure};
use brig_tests::modes::Mode;
use brig_tests::process;
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
                for (python, words) in [("/no/such/python3", "os error 2"), ("/etc/passwd", "os error 13")] {
                    broken_image(mode, python, words)?;
                }
                Ok(())
            },
        )
    });
    run(trials.collect())
}

fn broken_image(mode: Mode, python: &str, words: &str) -> Result<()> {
    let stage = Stage::set_up()?;
    let directory = stage.directory(mode)?;
    let config = directory.path().join("brig.toml");
    std::fs::write(&config, format!("[images.host]\npython = \"{python}\"\n"))?;
    let brig = |arguments: &[&str]| -> Result<Seen> {
        let mut command = mode.command(&stage.brig);
        command.args(["run", "--embedded", "--json"]).args(arguments);
        command
            .env("BRIG_CONFIG", &config)
            .env("HOME", directory.path())
            .current_dir(directory.path());
        Seen::from_run(&process::run(command, Vec::new(), Duration::from_secs(60))?)
    };
    let seen = brig(&["-c", "print('ran')"])?;
    seen.is("setup_error", 125)?;
    ensure!(seen.report["state"] == "failed", "state{}", seen.told());
    let told = format!("{} {}", seen.report["failure"], seen.said);
    for word in [python, "images.host", words] {
        ensure!(told.contains(word), "it does not say {word:?}{}", seen.told());
    }
    // What needs no interpreter still works, and what a program returns stays its own.
    brig(&["--", "sh", "-c", "echo shell"])?
        .exited(0)?
        .printed("shell")?;
    brig(&["--", "sh", "-c", "exit 127"])?.exited(127).map(drop)
}
