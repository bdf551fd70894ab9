//! PID 1 of a container, without an engine: driven over two pipes, under Brig's own filter and nothing more.

#![allow(
    clippy::disallowed_methods,
    clippy::exit,
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::type_complexity,
    clippy::cast_possible_truncation,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "a test program"
)]

#[path = "container/ends.rs"]
mod ends;
#[path = "container/filter.rs"]
mod filter;
#[path = "container/flows.rs"]
mod flows;
#[path = "container/guest.rs"]
mod guest;
#[path = "container/rules.rs"]
mod rules;
#[path = "container/walls.rs"]
mod walls;
#[path = "container/workspace.rs"]
mod workspace;

use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = filter::be_filtered_if_asked() {
        return code;
    }
    let all = [
        ends::TESTS,
        flows::TESTS,
        rules::TESTS,
        walls::TESTS,
        workspace::TESTS,
    ]
    .concat();
    let trials = all.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            catch_unwind(AssertUnwindSafe(test)).map_err(|_shown| Failed::from("see the panic above"))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
