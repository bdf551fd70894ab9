//! Cells on this machine, made by a real keeper: as root, with subordinate uids, and bare.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test program")]

mod support;

use brig_jail::protocol::MainExit;
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use support::{Keeper, be_keeper_if_asked, config, small};

fn main() -> ExitCode {
    if let Some(code) = be_keeper_if_asked() {
        return code;
    }
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials()).exit_code()
}

macro_rules! trials {
    ($($name:ident),+ $(,)?) => {
        vec![$(Trial::test(stringify!($name), || { $name(); Ok(()) })),+]
    };
}

fn trials() -> Vec<Trial> {
    trials![a_command_runs_and_its_output_arrives]
}

fn a_command_runs_and_its_output_arrives() {
    let mut keeper = Keeper::start(&config("echo"));
    let outcome = keeper.job(&["/bin/echo", "hello"], small());
    assert_eq!(outcome.stdout, "hello\n");
    assert_eq!(outcome.facts.main, MainExit::Exited(0));
    assert_eq!(keeper.end(), 70);
}
