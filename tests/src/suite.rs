//! Suites with a harness of their own: one trial per check and mode, skips with their reasons.

use crate::skip::Skip;
use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::process::ExitCode;

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

/// Whether the long forms are wanted too (`tests/run --long`).
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("BRIG_TESTS_LONG").is_some()
}
