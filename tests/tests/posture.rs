//! The posture of a running cell, from outside, against the golden one of its mode; then the same with one layer off,
//! which has to be a difference.
//!
//! `BRIG_TESTS_WRITE_GOLDEN=1 cargo test -p brig-tests --test posture -- "the posture"` writes the golden files anew.

use anyhow::{Context, Result, ensure};
use brig_tests::cell::{Bench, Started};
use brig_tests::modes::{Mode, Need, Privilege, Reach};
use brig_tests::posture::{self, Cell, golden};
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use nix::sys::signal::Signal;
use std::process::ExitCode;
use std::sync::Arc;

/// A layer, and how the line begins that its absence changes.
const ARMS: [(&str, &str); 7] = [
    ("seccomp", "- main   Seccomp_filters: "),
    ("capabilities", "+ main   CapBnd: "),
    ("rlimits", "- [GROUPS] main limit Max open files"),
    ("network", "+ namespace net: the host's"),
    ("proc_masks", "- [/proc/kallsyms] mount /proc/kallsyms"),
    ("read_only_root", "+ mount /usr: the image's, rw"),
    ("tmpfs_limits", "- mount /workspace: "),
];

fn main() -> ExitCode {
    let stage = match Stage::set_up() {
        Ok(stage) => Arc::new(stage),
        Err(error) => return run(vec![trial("the program can be staged", move || Err(error))]),
    };
    let mut trials = Vec::new();
    for mode in Mode::ALL {
        let stage = Arc::clone(&stage);
        trials.push(trial(
            format!(
                "the posture of a running cell is the golden one [{}]",
                mode.name()
            ),
            move || {
                mode.available()?;
                mode.gives(Need::HarnessRoot)?;
                let bench = Bench::set_up(stage, mode)?;
                golden::compare(&file_name(mode), &look(&bench, &[])?)
            },
        ));
    }
    for (layer, expected) in ARMS {
        let stage = Arc::clone(&stage);
        trials.push(trial(
            format!("without {layer} the posture is another [control arm]"),
            move || without(&stage, layer, expected),
        ));
    }
    run(trials)
}

fn file_name(mode: Mode) -> String {
    mode.name().replace(", ", "-")
}

/// Two cells at once, of which the first is looked at.
fn look(bench: &Bench, without: &[&'static str]) -> Result<Vec<String>> {
    let markers = [bench.marker(), bench.marker()];
    let start = |marker: &String, without: &[&'static str]| {
        let run = bench.program("posture.py").args(&[marker]).without(without);
        run.options(&["--timeout", "60s"]).start()
    };
    let runs = [start(&markers[0], without)?, start(&markers[1], &[])?];
    let seen = both(&markers);
    for run in &runs {
        // One that has ended already says why in its report.
        run.running().signal(Signal::SIGINT).ok();
    }
    let [first, second] = runs;
    let inside = end(first, &seen)?;
    end(second, &seen)?;
    let mut lines = seen?;
    lines.extend(inside);
    Ok(lines)
}

fn both(markers: &[String; 2]) -> Result<Vec<String>> {
    let cells = [Cell::with_marker(&markers[0])?, Cell::with_marker(&markers[1])?];
    posture::of(cells[0], cells[1])
}

/// Cancelled, it still tells what only the program itself can see.
fn end(run: Started<'_>, looked: &Result<Vec<String>>) -> Result<Vec<String>> {
    let seen = run.report()?;
    ensure!(seen.kind() == "cancelled", "verdict{}\n{looked:?}", seen.told());
    let told = ["dumpable", "securebits"].map(|name| Ok(format!("inside {name}: {}", seen.saw(name)?)));
    told.into_iter().collect()
}

fn without(stage: &Arc<Stage>, layer: &'static str, expected: &str) -> Result<()> {
    let mode = Mode::jail(Privilege::Root, Reach::Embedded);
    mode.available()?;
    mode.gives(Need::HarnessRoot)?;
    let bench = Bench::set_up(Arc::clone(stage), mode)?;
    let seen = look(&bench, &[layer]).context(layer)?;
    let differences = golden::differences(&file_name(mode), &seen)?;
    let expected = expected.replace("GROUPS", posture::group_version());
    ensure!(
        differences.iter().any(|line| line.starts_with(&expected)),
        "no line {expected:?} among\n{}",
        differences.join("\n")
    );
    Ok(())
}
