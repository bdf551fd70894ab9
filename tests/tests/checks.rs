//! The list of checks: none vanishes, each is where `docs/checks.md` says, and each refusal has its counterpart.

use brig_tests::checks_page;
use brig_tests::suite::{run, trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(vec![
        trial(
            "every check of the list is tried where docs/checks.md says",
            checks_page::every_listed_check_has_its_place,
        ),
        trial(
            "docs/checks.md has every check of the corpus",
            checks_page::the_corpus_is_on_the_page,
        ),
        trial(
            "every check of a refusal has its counterpart",
            checks_page::every_refusal_has_its_counterpart,
        ),
    ])
}
