//! A daemon that was taken over, and a PID 1 that lies: both speak to a real keeper, and get nothing but cells.
//!
//! The ideas are tried on live keepers; the decoders alone are fuzzed elsewhere. `BRIG_TESTS_LONG` tries ten times as many.

#![allow(
    clippy::disallowed_methods,
    clippy::exit,
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "a test program"
)]

mod support;

#[path = "takeover/descriptors.rs"]
mod descriptors;
#[path = "takeover/floods.rs"]
mod floods;
#[path = "takeover/init.rs"]
mod init;
#[path = "takeover/inside.rs"]
mod inside;
#[path = "takeover/limits.rs"]
mod limits;
#[path = "takeover/records.rs"]
mod records;
#[path = "takeover/sealed.rs"]
mod sealed;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use support::{be_keeper_if_asked, seen_or_skipped};

fn main() -> ExitCode {
    init::be_hostile_init_if_executed_as_one();
    if let Some(code) = be_keeper_if_asked() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // One after another: deadlines are measured.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials()).exit_code()
}

macro_rules! trials {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        vec![$(Trial::ignorable_test(stringify!($name), || seen_or_skipped($module::$name))),+]
    };
}

fn trials() -> Vec<Trial> {
    trials![
        records::any_sequence_of_requests_leaves_a_keeper_that_answers_and_nothing_else,
        records::whatever_is_no_request_ends_the_keeper_and_its_cells,
        records::half_a_socket_is_the_end,
        descriptors::descriptors_with_a_request_are_not_kept,
        descriptors::a_descriptor_that_is_slow_to_close_delays_no_deadline,
        limits::the_largest_wishes_get_the_ceilings,
        limits::wishes_of_nothing_hurt_only_themselves,
        limits::no_time_can_be_had_beyond_the_ceilings,
        limits::a_program_without_a_word_to_the_keeper_ends_too,
        limits::a_second_start_and_renewals_do_not_move_the_wall_limit,
        limits::a_level_below_the_operators_is_raised,
        limits::no_more_cells_than_the_operator_allows,
        floods::a_flood_without_answers_delays_no_deadline,
        floods::a_flood_whose_answers_nobody_reads_ends_the_keeper_within_bounds,
        inside::nonsense_instead_of_a_program_ends_its_own_cell,
        inside::file_requests_stay_in_the_workspace,
        inside::nonsense_for_the_helper_ends_the_helper,
        init::a_first_process_that_breaks_the_protocol_loses_its_cell_and_nothing_else,
        init::a_first_process_that_floods_delays_no_other_cell,
        sealed::the_program_of_every_first_process_is_a_sealed_copy,
        sealed::a_keeper_starts_its_own_processes_with_few_variables,
    ]
}

/// How many times an idea is varied.
fn rounds(few: u32) -> u32 {
    if std::env::var_os("BRIG_TESTS_LONG").is_some() {
        few * 10
    } else {
        few
    }
}
