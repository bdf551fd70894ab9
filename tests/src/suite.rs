//! Suites with a harness of their own: one trial per check and mode, skips with their reasons.

use crate::skip::Skip;
use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One trial. A [`Skip`] among the causes of its error is a skip, everything else a failure.
pub fn trial(name: impl Into<String>, body: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match body() {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => Ok(Completion::ignored_with(skip)),
            None => {
                tell_at_once(&format!("{error:#}"));
                Err(Failed::from(format!("{error:#}")))
            }
        },
    })
}

/// The harness tells why a trial failed when all are over. A slow machine may be stopped before that.
#[expect(clippy::print_stderr, reason = "a test says why it fails")]
fn tell_at_once(why: &str) {
    if crate::slack::factor() > 1 {
        eprintln!("\nfails: {why}");
    }
}

/// Runs the trials one after another: deadlines are measured and leftovers counted, which other cells on the
/// same two cores would disturb.
#[must_use]
pub fn run(trials: Vec<Trial>) -> ExitCode {
    run_at_once(trials, 1)
}

/// Runs so many trials at once: for suites that look neither at the time nor at what else is on the machine.
#[must_use]
pub fn run_at_once(trials: Vec<Trial>, at_once: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(at_once);
    let conclusion = libtest_mimic::run(&arguments, trials);
    crate::modes::take_back_groups();
    conclusion.exit_code()
}

/// How long the trials of each lane took so far.
static LANES: Mutex<BTreeMap<&'static str, Duration>> = Mutex::new(BTreeMap::new());

/// Runs a part of a lane and counts its time to it; [`tell_times`] says what came together.
///
/// # Errors
/// Those of the part.
pub fn in_lane<T>(lane: &'static str, part: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let outcome = part();
    let mut lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
    *lanes.entry(lane).or_default() += began.elapsed();
    outcome
}

/// Says how long each lane of this suite took, as `tests/run` collects it.
#[expect(clippy::print_stderr, reason = "figures for whoever runs it")]
pub fn tell_times(suite: &str) {
    let lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
    for (lane, time) in lanes.iter().filter(|(_, time)| time.as_secs() > 0) {
        eprintln!("took {} s: {suite} [{lane}]", time.as_secs());
    }
}

/// Whether the long forms are wanted too (`tests/run --long`).
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("BRIG_TESTS_LONG").is_some()
}
