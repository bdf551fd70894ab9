//! The SQLite store: the conformance suite, and what is SQLite's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    clippy::tests_outside_test_module,
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a test: a panic is its failure, and one of them starts itself as a child to kill it"
)]

mod conformance;
mod sqlite_only;

use brig_store::SqliteStore;
use std::sync::Arc;
use tempfile::TempDir;

/// A store on disk in a directory that lives as long as the test.
async fn fresh() -> (TempDir, SqliteStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&directory.path().join("data")).await.unwrap();
    (directory, store)
}

macro_rules! conforms {
    ($module:ident: $($behaviour:ident,)*) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let (_directory, store) = super::fresh().await;
                super::conformance::$module::$behaviour(std::sync::Arc::new(store)).await;
            })*
        }
    };
}

conforms!(states:
    every_state_answers_every_event_like_the_pure_function,
    the_failure_of_a_cancelled_attempt_is_kept,
    cancelling_again_changes_nothing,
    a_job_that_does_not_exist_is_not_found,
);

conforms!(queue:
    a_job_comes_back_as_it_was_submitted,
    a_secret_is_forgotten,
    a_key_with_the_same_body_gives_the_first_job,
    a_key_with_another_body_is_refused,
    a_key_belongs_to_its_tenant_and_method,
    one_key_used_at_once_makes_one_job,
    a_full_queue_refuses_and_drains,
    a_file_must_exist_and_be_the_tenants_own,
    jobs_are_claimed_by_priority_then_age,
    a_busy_tenant_does_not_starve_the_others,
    tenants_take_turns_when_jobs_end_at_once,
    what_is_not_due_or_has_expired_is_skipped,
    no_job_is_claimed_twice_at_once,
);

conforms!(events:
    events_come_back_in_order_with_their_bytes,
    a_stale_attempt_writes_nothing,
    no_number_is_used_twice_by_several_writers,
    dropped_output_becomes_one_gap,
    a_watcher_that_resumes_inside_a_gap_is_told,
    a_trim_of_a_stale_attempt_drops_nothing,
    events_are_read_in_bounded_pieces,
    an_attempt_that_was_lost_is_told,
);

conforms!(lists:
    pages_show_every_job_once_newest_first,
    a_page_token_of_nobody_is_refused,
    a_filter_selects_by_state_labels_and_submitter,
    another_tenants_job_is_not_found,
    jobs_are_counted_by_state,
);

conforms!(housekeeping:
    a_job_that_waited_too_long_fails,
    recovery_spares_the_living_worker,
    the_next_expiry_is_the_earliest,
    retention_removes_old_terminal_jobs_only,
    retention_keeps_the_newest_beyond_a_number,
    a_key_outlives_its_job_until_it_is_old,
    retention_gives_the_files_that_nothing_needs,
    a_durable_job_is_fenced_and_ended_like_any_other,
);

conforms!(files:
    a_file_is_found_by_its_tenant_alone,
    files_are_listed_newest_first_and_by_job,
    a_file_that_a_job_needs_is_kept,
);

mod histories {
    use super::{Arc, SqliteStore, conformance};
    use proptest::prelude::*;

    /// One store for all histories: jobs that came before must not matter.
    #[test]
    fn histories_follow_the_pure_function() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store: conformance::given::AnyStore =
            Arc::new(runtime.block_on(SqliteStore::open_temporary()).unwrap());
        let later = prop_oneof![4 => Just(0_i64), 2 => Just(1), 1 => Just(1_000), 1 => Just(10_000)];
        let steps = prop::collection::vec((any::<usize>(), later), 1..25);
        proptest!(ProptestConfig::with_cases(96), |(max_attempts in 1_u32..4, steps in steps)| {
            runtime.block_on(conformance::states::follow(&store, max_attempts, &steps));
        });
    }
}
