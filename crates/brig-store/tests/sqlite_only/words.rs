//! The words of the schema are the words of the code.

use brig_core::event::EventBody;
use brig_core::job::{JobState, Lease};
use brig_core::outcome::{Failure, TimeLimit, Verdict};
use brig_core::store::JobResult;
use brig_core::{Timestamp, WorkerId};
use std::collections::BTreeSet;

const SCHEMA: &str = include_str!("../../migrations/sqlite/0001_jobs.sql");

/// The words of the list that begins with `start` in the schema.
fn words_after(start: &str) -> BTreeSet<String> {
    let after = SCHEMA.split_once(start).expect("the list is in the schema").1;
    let list = after.split_once(')').unwrap().0;
    list.split(',')
        .map(|word| word.trim().trim_matches('\'').to_owned())
        .collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn states() -> [JobState; 6] {
    let zero = Timestamp::from_millis(0);
    let lease = Lease {
        worker: WorkerId::generate(),
        attempt: 1,
        until: zero,
    };
    let queued = JobState::Queued {
        attempts_used: 0,
        not_before: zero,
        expires: zero,
    };
    // A new state must be added here: this match does not compile without it.
    match queued {
        JobState::Queued { .. }
        | JobState::Running(_)
        | JobState::Cancelling(_)
        | JobState::Finished
        | JobState::Failed
        | JobState::Cancelled => {}
    }
    [
        queued,
        JobState::Running(lease),
        JobState::Cancelling(lease),
        JobState::Finished,
        JobState::Failed,
        JobState::Cancelled,
    ]
}

#[test]
fn state_words_in_the_schema_are_those_of_the_enum() {
    let words: Vec<&str> = states().iter().map(JobState::word).collect();
    assert_eq!(words_after("CHECK (state IN ("), set(&words));
    let terminal: Vec<&str> = states()
        .iter()
        .filter(|state| state.is_terminal())
        .map(JobState::word)
        .collect();
    let ended = SCHEMA.split_once(") = (ended IS NOT NULL)").unwrap().0;
    let list = ended.rsplit_once("state IN (").unwrap().1.trim_end_matches(')');
    let listed: BTreeSet<String> = list
        .split(',')
        .map(|word| word.trim().trim_matches('\'').to_owned())
        .collect();
    assert_eq!(listed, set(&terminal));
}

#[test]
fn kind_words_in_the_schema_are_those_of_the_results() {
    let verdicts = [
        Verdict::Exited { code: 0 },
        Verdict::Signalled { signal: 9 },
        Verdict::TimedOut {
            limit: TimeLimit::Wall,
        },
        Verdict::OutOfMemory,
        Verdict::OutputLimit,
        Verdict::DiskLimit,
        Verdict::RefusedCall { name: String::new() },
        Verdict::Cancelled,
    ];
    let failures = [
        Failure::SetupError {
            stage: String::new(),
            item: String::new(),
            errno: 0,
            remedy: String::new(),
        },
        Failure::Interrupted {
            retryable: true,
            reason: String::new(),
        },
        Failure::InternalError {
            correlation_id: String::new(),
        },
        Failure::QueueExpired,
    ];
    // New ones must be added above: these do not compile without them.
    match &verdicts[0] {
        Verdict::Exited { .. }
        | Verdict::Signalled { .. }
        | Verdict::TimedOut { .. }
        | Verdict::OutOfMemory
        | Verdict::OutputLimit
        | Verdict::DiskLimit
        | Verdict::RefusedCall { .. }
        | Verdict::Cancelled => {}
    }
    match &failures[0] {
        Failure::SetupError { .. }
        | Failure::Interrupted { .. }
        | Failure::InternalError { .. }
        | Failure::QueueExpired => {}
    }
    let mut words: Vec<&str> = verdicts.iter().map(Verdict::kind).collect();
    words.extend(failures.iter().map(Failure::kind));
    words.push(JobResult::CancelledInQueue.kind());
    assert_eq!(words_after("kind             TEXT CHECK (kind IN ("), set(&words));
}

#[test]
fn durability_words_in_the_schema_are_those_of_the_wire() {
    use brig_core::spec::Durability;
    let words: Vec<String> = [Durability::Process, Durability::PowerLoss]
        .iter()
        .map(|durability| {
            serde_json::to_value(durability)
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(words_after("CHECK (durability IN ("), words.into_iter().collect());
}

#[test]
fn every_event_that_is_not_output_has_its_serde_word() {
    // Output is kept raw under the name of its stream.
    let json = serde_json::to_value(EventBody::Cancelling).unwrap();
    let words = words_after("kind    TEXT NOT NULL CHECK (kind IN (");
    assert!(words.contains(json.as_str().unwrap()));
    let expected = [
        "queued",
        "started",
        "stdout",
        "stderr",
        "requeued",
        "cancelling",
        "ended",
        "gap",
    ];
    assert_eq!(words, set(&expected));
}

/// One operation is one file, and no file is forgotten.
#[test]
fn every_sql_file_is_used_and_says_what_it_does() {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = std::fs::read_to_string(manifest.join("src/sqlite/sql.rs")).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(manifest.join("sql/sqlite")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(list.contains(&format!("\"{name}\"")), "{name} is not used");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("-- "), "{name} does not say what it does");
        // sqlx numbers `?` parameters by the statement, `$` ones by the whole text.
        assert!(!text.contains('?'), "{name}: parameters are $1, $2…");
        files += 1;
    }
    assert_eq!(list.matches(".sql\"").count(), files);
}
