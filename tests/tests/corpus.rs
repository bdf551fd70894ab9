//! The corpus of checks: every check in every mode, then the control arms.
//!
//! `cargo test -p brig-tests --test corpus -- "P-01"` runs one check in all modes.

use brig_tests::cell::Bench;
use brig_tests::hostile::layers::LAYER_ARMS;
use brig_tests::hostile::{Arm, Check, checks};
use brig_tests::modes::{Mode, Need, Privilege, Reach};
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
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
    for mode in Mode::ALL {
        let bench = Shared::default();
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
            .map(|arm| outside_bench(arm.title, arm.body, &stage)),
    );
    run(trials)
}

fn in_mode(check: Check, mode: Mode, stage: &Arc<Stage>, bench: &Shared) -> Trial {
    let (stage, bench) = (Arc::clone(stage), Arc::clone(bench));
    trial(
        format!("{} {} [{}]", check.id, check.title, mode.name()),
        move || {
            mode.available()?;
            for need in check.needs {
                mode.gives(*need)?;
            }
            let bench =
                bench.get_or_init(|| Bench::set_up(stage, mode).map_err(|error| format!("{error:#}")));
            (check.body)(
                bench
                    .as_ref()
                    .map_err(|error| anyhow::anyhow!("the mode cannot be set up: {error}"))?,
            )
        },
    )
}

fn control_arm(check: Check, stage: &Arc<Stage>) -> Option<Trial> {
    let Arm::Shows(arm) = check.arm else { return None };
    Some(outside_bench(
        &format!("{} {}", check.id, check.title),
        arm,
        stage,
    ))
}

fn outside_bench(title: &str, arm: fn(&Bench) -> anyhow::Result<()>, stage: &Arc<Stage>) -> Trial {
    let mode = Mode {
        privilege: Privilege::Root,
        reach: Reach::Embedded,
    };
    let stage = Arc::clone(stage);
    trial(format!("{title} [control arm]"), move || {
        mode.available()?;
        mode.gives(Need::HarnessRoot)?;
        arm(&Bench::set_up(stage, mode)?)
    })
}
