//! Events: numbers, bounds, gaps.

use super::given::{self, AnyStore, LEASE, at, tenant};
use brig_core::event::{EventBody, GapReason, StreamName};
use brig_core::job::Refused;
use brig_core::spec::Blob;
use brig_core::store::{AttemptRef, StoreError, Trim};
use brig_core::{JobId, WorkerId};
use std::collections::BTreeSet;
use tokio::task::JoinSet;

async fn running(store: &AnyStore) -> (JobId, AttemptRef) {
    let id = given::submitted(store, given::job(), at(0)).await;
    let claim = given::claimed(store, at(0)).await;
    assert_eq!(claim.job.id, id);
    (id, given::attempt_of(&claim))
}

pub async fn events_come_back_in_order_with_their_bytes(store: AnyStore) {
    let (job, attempt) = running(&store).await;
    let started = EventBody::Started {
        receipt: given::outcome(brig_core::Verdict::OutOfMemory).receipt,
    };
    let stderr = EventBody::Output {
        stream: StreamName::Stderr,
        data: Blob(vec![0, 1, 255, 128, b'"', b'\n']),
    };
    let bodies = vec![started, stderr, given::output(b""), given::output("é".as_bytes())];
    let told = store.append(attempt, bodies.clone(), None, at(7)).await.unwrap();
    assert_eq!(given::seqs(&told), [2, 3, 4, 5]);
    let history = given::whole_history(&store, &tenant("default"), job).await;
    assert_eq!(history[1..], told[..]);
    let stored: Vec<EventBody> = history[1..].iter().map(|event| event.body.clone()).collect();
    assert_eq!(stored, bodies);
    assert_eq!((history[1].time, history[1].attempt), (at(7), 1));
    // Nothing to say is fine too.
    assert!(
        store
            .append(attempt, vec![], None, at(8))
            .await
            .unwrap()
            .is_empty()
    );
    // The last events of an attempt come before the terminal one.
    let (_, last) = store
        .end(attempt, given::finished(), vec![given::output(b"bye")], at(9))
        .await
        .unwrap();
    assert_eq!(given::seqs(&last), [6, 7]);
    assert_eq!(
        given::whole_history(&store, &tenant("default"), job).await[5..],
        last[..]
    );
}

pub async fn a_stale_attempt_writes_nothing(store: AnyStore) {
    let mut job = given::job();
    job.spec.retry.max_attempts = 2;
    let id = given::submitted(&store, job, at(0)).await;
    let stale = given::attempt_of(&given::claimed(&store, at(0)).await);
    let later = at(0).plus(LEASE);
    assert_eq!(store.expire_leases(later).await.unwrap().len(), 1);
    let current = given::attempt_of(&given::claimed(&store, later).await);
    assert_eq!((stale.attempt, current.attempt), (1, 2));
    let before = given::whole_history(&store, &tenant("default"), id).await;
    let late = store
        .append(stale, vec![given::output(b"late")], None, later)
        .await;
    assert!(matches!(late, Err(StoreError::Refused(Refused::StaleAttempt))));
    let late = store
        .end(stale, given::finished(), vec![given::output(b"late")], later)
        .await;
    assert!(matches!(late, Err(StoreError::Refused(Refused::StaleAttempt))));
    assert_eq!(given::whole_history(&store, &tenant("default"), id).await, before);
    // Control: the current attempt may.
    store
        .append(current, vec![given::output(b"mine")], None, later)
        .await
        .unwrap();
    store
        .end(current, given::finished(), vec![], later)
        .await
        .unwrap();
    let late = store
        .append(current, vec![given::output(b"late")], None, later)
        .await;
    assert!(matches!(late, Err(StoreError::Refused(Refused::AlreadyTerminal))));
}

pub async fn no_number_is_used_twice_by_several_writers(store: AnyStore) {
    let (job, attempt) = running(&store).await;
    let mut writers = JoinSet::new();
    for writer in 0..6_u8 {
        let store = store.clone();
        writers.spawn(async move {
            let mut mine = Vec::new();
            for n in 0..20 {
                if (writer, n) == (0, 10) {
                    let (_, told) = store.cancel(&tenant("default"), job, at(1)).await.unwrap();
                    mine.extend(given::seqs(&told));
                }
                let events = (0..=n % 3).map(|_| given::output(&[writer])).collect();
                mine.extend(given::seqs(
                    &store.append(attempt, events, None, at(1)).await.unwrap(),
                ));
            }
            mine
        });
    }
    let told: Vec<u64> = writers.join_all().await.concat();
    let unique: BTreeSet<u64> = told.iter().copied().collect();
    assert_eq!(unique.len(), told.len(), "a number was given twice");
    let history = given::whole_history(&store, &tenant("default"), job).await;
    assert_eq!(
        given::seqs(&history)[1..],
        unique.into_iter().collect::<Vec<_>>()[..]
    );
}

/// A job with output `a` to `j` at numbers 2 to 11.
async fn with_ten_pieces(store: &AnyStore) -> (JobId, AttemptRef) {
    let (job, attempt) = running(store).await;
    for letter in b'a'..=b'j' {
        store
            .append(attempt, vec![given::output(&[letter])], None, at(1))
            .await
            .unwrap();
    }
    (job, attempt)
}

fn trim(from_seq: u64, to_seq: u64, bytes: u64) -> Option<Trim> {
    Some(Trim {
        from_seq,
        to_seq,
        bytes,
    })
}

fn gap(from_seq: u64, to_seq: u64, bytes: u64) -> EventBody {
    EventBody::Gap {
        from_seq,
        to_seq,
        bytes,
        reason: GapReason::OutputKept,
    }
}

pub async fn dropped_output_becomes_one_gap(store: AnyStore) {
    let (job, attempt) = with_ten_pieces(&store).await;
    let told = store
        .append(attempt, vec![given::output(b"k")], trim(4, 6, 3), at(2))
        .await
        .unwrap();
    assert_eq!(given::seqs(&told), [12]);
    let history = given::whole_history(&store, &tenant("default"), job).await;
    assert_eq!(given::seqs(&history), [1, 2, 3, 4, 7, 8, 9, 10, 11, 12]);
    assert_eq!(history[3].body, gap(4, 6, 3));
    // A wider gap swallows the earlier one.
    store.append(attempt, vec![], trim(4, 9, 6), at(3)).await.unwrap();
    let history = given::whole_history(&store, &tenant("default"), job).await;
    assert_eq!(given::seqs(&history), [1, 2, 3, 4, 10, 11, 12]);
    assert_eq!(history[3].body, gap(4, 9, 6));
}

pub async fn a_watcher_that_resumes_inside_a_gap_is_told(store: AnyStore) {
    let (job, attempt) = with_ten_pieces(&store).await;
    store.append(attempt, vec![], trim(4, 9, 6), at(3)).await.unwrap();
    let default = tenant("default");
    let first_from = |from| {
        let (store, default) = (store.clone(), default.clone());
        async move { store.events(&default, job, from, 10).await.unwrap()[0].clone() }
    };
    assert_eq!(first_from(3).await.body, given::output(b"b"));
    assert_eq!(first_from(4).await.body, gap(4, 9, 6));
    // From within it, the gap begins where the watcher asks: it sees no number twice.
    let inside = first_from(6).await;
    assert_eq!((inside.seq, inside.body), (6, gap(6, 9, 6)));
    assert_eq!(first_from(9).await.body, gap(9, 9, 6));
    assert_eq!(first_from(10).await.body, given::output(b"i"));
}

pub async fn a_trim_of_a_stale_attempt_drops_nothing(store: AnyStore) {
    let (job, attempt) = with_ten_pieces(&store).await;
    let before = given::whole_history(&store, &tenant("default"), job).await;
    let stale = AttemptRef {
        attempt: attempt.attempt + 1,
        ..attempt
    };
    let refused = store.append(stale, vec![], trim(3, 5, 3), at(3)).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refused::StaleAttempt))));
    assert_eq!(
        given::whole_history(&store, &tenant("default"), job).await,
        before
    );
}

pub async fn events_are_read_in_bounded_pieces(store: AnyStore) {
    let (job, attempt) = running(&store).await;
    let mebibyte = vec![b'x'; 1024 * 1024];
    for _ in 0..5 {
        store
            .append(attempt, vec![given::output(&mebibyte)], None, at(1))
            .await
            .unwrap();
    }
    let default = tenant("default");
    assert_eq!(
        given::seqs(&store.events(&default, job, 1, 100).await.unwrap()),
        [1, 2, 3]
    );
    assert_eq!(
        given::seqs(&store.events(&default, job, 4, 1).await.unwrap()),
        [4]
    );
    assert!(store.events(&default, job, 7, 10).await.unwrap().is_empty());
    assert!(
        store
            .events(&default, job, u64::MAX, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        given::seqs(&store.events(&default, job, 0, 1).await.unwrap()),
        [1]
    );
}

pub async fn an_attempt_that_was_lost_is_told(store: AnyStore) {
    let mut job = given::job();
    job.spec.retry.max_attempts = 2;
    let id = given::submitted(&store, job, at(0)).await;
    given::claimed(&store, at(0)).await;
    let changed = store.recover(WorkerId::generate(), at(1)).await.unwrap();
    assert_eq!((changed.len(), changed[0].job), (1, id));
    let history = given::whole_history(&store, &tenant("default"), id).await;
    assert_eq!(history[1..], changed[0].events[..]);
    assert!(matches!(&history[1].body, EventBody::Requeued { reason } if reason.contains("daemon")));
    assert_eq!(history[1].attempt, 1);
}
