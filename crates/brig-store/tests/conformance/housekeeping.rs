//! Expiry, recovery, retention.

use super::given::{self, AnyStore, LEASE, at, tenant};
use brig_core::event::EventBody;
use brig_core::outcome::Failure;
use brig_core::spec::{Content, Durability};
use brig_core::store::{JobResult, NewJob, StoreError, Submitted};
use brig_core::{JobId, Timestamp, WorkerId};
use std::time::Duration;

fn brief(millis: u64) -> NewJob {
    let mut job = given::job();
    job.spec.queue_timeout = Duration::from_millis(millis);
    job
}

pub async fn a_job_that_waited_too_long_fails(store: AnyStore) {
    let mut waiting = Vec::new();
    // More than one round of housekeeping takes at once.
    for _ in 0..250 {
        waiting.push(given::submitted(&store, brief(10), at(0)).await);
    }
    let patient = given::submitted(&store, brief(1_000), at(0)).await;
    assert!(store.expire_queue(at(9)).await.unwrap().is_empty());
    let changed = store.expire_queue(at(10)).await.unwrap();
    assert_eq!(changed.len(), waiting.len());
    for changed in &changed {
        let job = store.get(&tenant("default"), changed.job).await.unwrap();
        assert_eq!(job.result, Some(JobResult::Failed(Failure::QueueExpired)));
        let told = EventBody::Ended {
            state: "failed".into(),
            kind: "queue_expired".into(),
        };
        assert_eq!(changed.events.last().unwrap().body, told);
    }
    assert_eq!(given::claimed(&store, at(10)).await.job.id, patient);
}

pub async fn recovery_spares_the_living_worker(store: AnyStore) {
    let (alive, dead) = (WorkerId::generate(), WorkerId::generate());
    let mine = given::submitted(&store, given::job(), at(0)).await;
    store.claim(alive, LEASE, at(0)).await.unwrap().unwrap();
    let mut lost = Vec::new();
    for _ in 0..3 {
        lost.push(given::submitted(&store, given::job(), at(0)).await);
        store.claim(dead, LEASE, at(0)).await.unwrap().unwrap();
    }
    // One of them was being cancelled.
    store.cancel(&tenant("default"), lost[2], at(0)).await.unwrap();
    let waiting = given::submitted(&store, given::job(), at(0)).await;
    let changed = store.recover(alive, at(1)).await.unwrap();
    let words: Vec<(JobId, &str)> = changed.iter().map(|c| (c.job, c.state.word())).collect();
    assert_eq!(words.len(), 3);
    for expected in [(lost[0], "failed"), (lost[1], "failed"), (lost[2], "cancelled")] {
        assert!(words.contains(&expected), "{words:?}");
    }
    let job = store.get(&tenant("default"), lost[0]).await.unwrap();
    assert!(matches!(
        job.result,
        Some(JobResult::Failed(Failure::Interrupted { retryable: true, .. }))
    ));
    for (id, word) in [(mine, "running"), (waiting, "queued")] {
        assert_eq!(
            store.get(&tenant("default"), id).await.unwrap().state.word(),
            word
        );
    }
    assert!(store.recover(alive, at(1)).await.unwrap().is_empty());
}

pub async fn the_next_expiry_is_the_earliest(store: AnyStore) {
    assert_eq!(store.next_expiry().await.unwrap(), None);
    given::submitted(&store, brief(60_000), at(0)).await;
    assert_eq!(store.next_expiry().await.unwrap(), Some(at(60_000)));
    let claim = given::claimed(&store, at(5)).await;
    assert_eq!(store.next_expiry().await.unwrap(), Some(at(5).plus(LEASE)));
    given::submitted(&store, brief(100), at(5)).await;
    assert_eq!(store.next_expiry().await.unwrap(), Some(at(105)));
    store.expire_queue(at(105)).await.unwrap();
    store
        .renew(given::attempt_of(&claim), LEASE, at(500))
        .await
        .unwrap();
    assert_eq!(store.next_expiry().await.unwrap(), Some(at(500).plus(LEASE)));
    store
        .end(given::attempt_of(&claim), given::finished(), vec![], at(600))
        .await
        .unwrap();
    assert_eq!(store.next_expiry().await.unwrap(), None);
}

const NEVER: Timestamp = Timestamp::from_millis(i64::MIN);

async fn exists(store: &AnyStore, job: JobId) -> bool {
    match store.get(&tenant("default"), job).await {
        Ok(_) => true,
        Err(StoreError::NotFound) => false,
        Err(other) => panic!("{other:?}"),
    }
}

pub async fn retention_removes_old_terminal_jobs_only(store: AnyStore) {
    let old = given::ended(&store, given::job(), at(10)).await;
    let young = given::ended(&store, given::job(), at(20)).await;
    let running = given::submitted(&store, given::job(), at(0)).await;
    given::claimed(&store, at(0)).await;
    let waiting = given::submitted(&store, given::job(), at(0)).await;
    store.purge(at(20), 1_000, NEVER).await.unwrap();
    assert!(!exists(&store, old).await);
    assert!(matches!(
        store.events(&tenant("default"), old, 1, 10).await,
        Err(StoreError::NotFound)
    ));
    for kept in [young, running, waiting] {
        assert!(exists(&store, kept).await);
    }
}

pub async fn retention_keeps_the_newest_beyond_a_number(store: AnyStore) {
    let mut jobs = Vec::new();
    // All at the same moment: the order must not depend on it. More than one step of a purge.
    for _ in 0..130 {
        jobs.push(given::ended(&store, given::job(), at(5)).await);
    }
    store.purge(NEVER, 4, NEVER).await.unwrap();
    for (place, job) in jobs.iter().rev().enumerate() {
        assert_eq!(exists(&store, *job).await, place < 4, "{place}");
    }
    store.purge(NEVER, 0, NEVER).await.unwrap();
    assert!(!exists(&store, jobs[129]).await);
}

pub async fn a_key_outlives_its_job_until_it_is_old(store: AnyStore) {
    let first = given::ended(&store, given::keyed("k", 1), at(10)).await;
    store.purge(at(100), 0, at(10)).await.unwrap();
    assert!(!exists(&store, first).await);
    let again = store.submit(given::keyed("k", 1), at(100)).await.unwrap();
    assert_eq!(again, Submitted::Existing(first));
    store.purge(at(100), 0, at(11)).await.unwrap();
    let job = given::keyed("k", 1);
    let id = job.id;
    assert_eq!(store.submit(job, at(100)).await.unwrap(), Submitted::New(id));
}

pub async fn retention_gives_the_files_that_nothing_needs(store: AnyStore) {
    let upload = |created| given::file_of("default", None, created);
    let (unused, fresh, input) = (upload(at(1)), upload(at(90)), upload(at(1)));
    for file in [&unused, &fresh, &input] {
        store.put_file(file.clone()).await.unwrap();
    }
    let old = given::ended(&store, given::job(), at(10)).await;
    let produced = given::file_of("default", Some(old), at(10));
    let reused = given::file_of("default", Some(old), at(10));
    for file in [&produced, &reused] {
        store.put_file(file.clone()).await.unwrap();
    }
    // A waiting job needs an upload and a file that the old job produced.
    let mut job = given::job();
    job.spec.stdin = Some(Content::Stored(input.id));
    job.spec.inputs = vec![brig_core::spec::InputFile {
        path: brig_core::spec::WorkspacePath::parse("in").unwrap(),
        content: Content::Stored(reused.id),
        mode: Default::default(),
    }];
    let waiting = given::submitted(&store, job, at(20)).await;
    let mut gone = store.purge(at(50), 1_000, NEVER).await.unwrap();
    gone.sort();
    let mut expected = vec![unused.id, produced.id];
    expected.sort();
    assert_eq!(gone, expected);
    // Once it has ended and is gone too, so are its files.
    store.cancel(&tenant("default"), waiting, at(20)).await.unwrap();
    let mut gone = store.purge(at(50), 1_000, NEVER).await.unwrap();
    gone.sort();
    let mut expected = vec![input.id, reused.id];
    expected.sort();
    assert_eq!(gone, expected);
    assert_eq!(store.all_files().await.unwrap(), [fresh.id]);
}

pub async fn a_durable_job_is_fenced_and_ended_like_any_other(store: AnyStore) {
    let mut job = given::job();
    job.spec.durability = Durability::PowerLoss;
    let id = given::ended(&store, job.clone(), at(0)).await;
    assert_eq!(
        store.get(&tenant("default"), id).await.unwrap().state.word(),
        "finished"
    );
    job.id = JobId::generate();
    let id = given::submitted(&store, job, at(0)).await;
    let (state, _) = store.cancel(&tenant("default"), id, at(1)).await.unwrap();
    assert_eq!(state.word(), "cancelled");
}
