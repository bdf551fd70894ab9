//! The corpus of checks: every check in every mode, then the control arms.
//!
//! `cargo test -p brig-tests --test corpus -- "P-01"` runs one check in all modes.

use anyhow::ensure;
use brig_tests::cell::Bench;
use brig_tests::cells::Cells;
use brig_tests::exceptions;
use brig_tests::hostile::layers::LAYER_ARMS;
use brig_tests::hostile::{Arm, Check, checks};
use brig_tests::modes::{Mode, Need, Privilege, Reach};
use brig_tests::record;
use brig_tests::seen::Seen;
use brig_tests::skip::Skip;
use brig_tests::stage::Stage;
use brig_tests::suite::{in_lane, is_long, run, tell_times, trial};
use libtest_mimic::Trial;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

/// A bench that is set up by the first check that needs it; its failure is the failure of each of them.
type Shared = Arc<OnceLock<Result<Bench, String>>>;

fn main() -> ExitCode {
    let stage = match Stage::set_up() {
        Ok(stage) => Arc::new(stage),
        Err(error) => return run(vec![trial("the corpus can be staged", move || Err(error))]),
    };
    let mut trials = Vec::new();
    record_what_is_given();
    trials.push(list_of_exceptions());
    for mode in Mode::ALL.into_iter().chain(Mode::OTHER_CELLS) {
        let bench = Shared::default();
        trials.push(receipt_of(mode, &stage, &bench));
        trials.extend(
            checks()
                .into_iter()
                .map(|check| in_mode(check, mode, &stage, &bench)),
        );
    }
    trials.extend(
        checks()
            .into_iter()
            .filter_map(|check| control_arm(check, &stage)),
    );
    trials.extend(
        LAYER_ARMS
            .iter()
            .map(|arm| outside_bench(arm.title, &[Need::HarnessRoot], arm.body, &stage)),
    );
    let code = run(trials);
    tell_times("corpus");
    code
}

fn in_mode(check: Check, mode: Mode, stage: &Arc<Stage>, bench: &Shared) -> Trial {
    let (stage, bench) = (Arc::clone(stage), Arc::clone(bench));
    trial(
        format!("{} {} [{}]", check.id, check.title, mode.name()),
        move || {
            let outcome = in_lane(mode.name(), || outcome(check, mode, stage, &bench));
            record::on_backend(mode, check.id, check.title, &outcome);
            outcome
        },
    )
}

/// What came of a check, by the list of exceptions where it is on that.
fn outcome(check: Check, mode: Mode, stage: Arc<Stage>, bench: &Shared) -> anyhow::Result<()> {
    mode.available()?;
    if is_left_to_the_long_run(check.id, mode) {
        return Err(Skip::because("not reviewed under gVisor yet: tried in the long run").into());
    }
    for need in check.needs {
        mode.gives(*need)?;
    }
    let bench = set_up(bench, stage, mode)?;
    let outcome = (check.body)(bench);
    match exceptions::of(check.id, mode.cells)? {
        Some(exception) => exceptions::judge(exception, outcome),
        None => outcome,
    }
}

/// What of the corpus has been reviewed under gVisor. Its own kernel answers the program there, and nothing in it can be
/// seen from the host; what the rest comes to is tried in the long run.
const REVIEWED_UNDER_GVISOR: &[&str] = &[
    "M-05", "T-01", "T-02", "O-04", "O-11", "D-05", "N-01", "S-01", "S-04", "R-04", "E-01", "L-01", "H-01",
];

fn is_left_to_the_long_run(check: &str, mode: Mode) -> bool {
    mode.cells == Cells::Gvisor && !is_long() && !REVIEWED_UNDER_GVISOR.contains(&check)
}

/// Every line of the list is of a check and of cells that there are.
fn list_of_exceptions() -> Trial {
    let body = || {
        for exception in exceptions::all()? {
            // Programs of the parity suite are on the list, too.
            let known = exception.check.starts_with("parity ")
                || checks().iter().any(|check| check.id == exception.check);
            ensure!(known, "there is no check {}", exception.check);
            for cells in &exception.cells {
                let known = Mode::OTHER_CELLS.iter().any(|mode| mode.cells.name() == cells);
                ensure!(known, "{}: there are no cells {cells:?}", exception.check);
            }
            let told = exception.reason.len() > 20 && !exception.says.is_empty();
            ensure!(
                told,
                "{}: no reason, or nothing that the failure says",
                exception.check
            );
        }
        Ok(())
    };
    trial("every exception is of a check and has its reason", body)
}

/// Records for the table of modes what each of them gives of what the checks need, whichever are run now.
fn record_what_is_given() {
    for mode in Mode::ALL.into_iter().filter(|mode| mode.available().is_ok()) {
        for check in checks() {
            let needs = check.needs.iter().filter(|need| need.is_of_the_mode());
            let missing = needs.map(|need| mode.gives(*need)).find_map(Result::err);
            record::check(mode, check.id, check.title, missing.map(|skip| skip.0).as_deref());
        }
    }
}

fn set_up(bench: &Shared, stage: Arc<Stage>, mode: Mode) -> anyhow::Result<&Bench> {
    bench
        .get_or_init(|| Bench::set_up(stage, mode).map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("the mode cannot be set up: {error}"))
}

/// The receipt of a mode, held against what the mode is said to give; it is recorded for the table of modes.
fn receipt_of(mode: Mode, stage: &Arc<Stage>, bench: &Shared) -> Trial {
    let (stage, bench) = (Arc::clone(stage), Arc::clone(bench));
    trial(
        format!("the receipt is what the table of modes says [{}]", mode.name()),
        move || {
            mode.available()?;
            let seen = set_up(&bench, stage, mode)?.code("pass").go()?;
            seen.exited(0)?;
            if mode.cells.are_containers() {
                record::receipt(mode, &seen);
                return the_engine_is_named(&seen, mode.cells);
            }
            for (layer, given) in [
                ("namespaces", true),
                ("root", true),
                ("identity", true),
                ("uid", mode.has_own_uid()),
                ("seccomp", true),
                ("cgroup", mode.has_cgroup()),
                ("rlimits", true),
                ("proc", true),
            ] {
                let active = seen.layer(layer)["state"] == "active";
                ensure!(active == given, "{layer}: {}{}", seen.layer(layer), seen.told());
            }
            ensure!(
                seen.report["receipt"]["level"] == mode.default_level(),
                "level{}",
                seen.told()
            );
            record::receipt(mode, &seen);
            Ok(())
        },
    )
}

/// What a receipt of a container must tell beside its layers.
fn the_engine_is_named(seen: &Seen, cells: Cells) -> anyhow::Result<()> {
    let told = seen.report["receipt"].to_string();
    // gVisor's own kernel answers the calls, and does not apply the profile to them.
    let seccomp = if cells == Cells::Gvisor {
        "partial"
    } else {
        "active"
    };
    for (word, state) in [("seccomp", seccomp), ("cgroup", "active"), ("identity", "active")] {
        ensure!(seen.layer(word)["state"] == state, "{word}{}", seen.told());
    }
    ensure!(
        told.contains("unreported"),
        "refusals are not called unreported{}",
        seen.told()
    );
    ensure!(told.contains("run"), "no runtime{}", seen.told());
    Ok(())
}

fn control_arm(check: Check, stage: &Arc<Stage>) -> Option<Trial> {
    let Arm::Shows(arm) = check.arm else { return None };
    let needs = if check.needs.contains(&Need::DisposableMachine) {
        &[Need::HarnessRoot, Need::DisposableMachine][..]
    } else {
        &[Need::HarnessRoot][..]
    };
    let title = format!("{} {}", check.id, check.title);
    Some(outside_bench(&title, needs, arm, stage))
}

fn outside_bench(
    title: &str,
    needs: &'static [Need],
    arm: fn(&Bench) -> anyhow::Result<()>,
    stage: &Arc<Stage>,
) -> Trial {
    let mode = Mode::jail(Privilege::Root, Reach::Embedded);
    let stage = Arc::clone(stage);
    trial(format!("{title} [control arm]"), move || {
        mode.available()?;
        for need in needs {
            mode.gives(*need)?;
        }
        arm(&Bench::set_up(stage, mode)?)
    })
}
