//! Accepting and handing out jobs.

use super::given::{self, AnyStore, LEASE, at, tenant};
use brig_core::job::JobState;
use brig_core::spec::{Content, Durability, EnvEntry, EnvValue, Secret};
use brig_core::store::{NewJob, StoreError, Submitted};
use brig_core::{FileId, JobId, WorkerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;

pub async fn a_job_comes_back_as_it_was_submitted(store: AnyStore) {
    for durability in [Durability::Process, Durability::PowerLoss] {
        let mut job = given::job();
        job.spec.durability = durability;
        job.spec.labels = BTreeMap::from([("team".into(), "a \"quoted\" é".into())]);
        job.spec.priority = -5;
        let (spec, id) = (job.spec.clone(), job.id);
        assert_eq!(store.submit(job, at(100)).await.unwrap(), Submitted::New(id));
        let stored = store.get(&tenant("default"), id).await.unwrap();
        assert_eq!((stored.spec, stored.created, stored.last_seq), (spec, at(100), 1));
        assert_eq!((stored.attempts, stored.started, stored.ended), (0, None, None));
        let claim = given::claimed(&store, at(101)).await;
        assert_eq!((claim.attempt, claim.job.started), (1, Some(at(101))));
        store
            .end(given::attempt_of(&claim), given::finished(), vec![], at(102))
            .await
            .unwrap();
        assert_eq!(
            store.get(&tenant("default"), id).await.unwrap().ended,
            Some(at(102))
        );
    }
}

pub async fn a_secret_is_forgotten(store: AnyStore) {
    let mut job = given::job();
    let value = EnvValue::Secret(Secret::new("hunter2-is-not-stored".into()));
    job.spec.env = vec![EnvEntry {
        name: "TOKEN".into(),
        value,
    }];
    let id = given::submitted(&store, job, at(0)).await;
    let stored = store.get(&tenant("default"), id).await.unwrap();
    assert!(stored.spec.has_lost_secrets());
}

pub async fn a_key_with_the_same_body_gives_the_first_job(store: AnyStore) {
    let first = given::submitted(&store, given::keyed("k", 1), at(0)).await;
    let again = store.submit(given::keyed("k", 1), at(1)).await.unwrap();
    assert_eq!(again, Submitted::Existing(first));
    let default = tenant("default");
    let all = store.list(&default, &Default::default(), 10, None).await.unwrap();
    assert_eq!(all.jobs.len(), 1);
    // Also when the queue is full by now, and when the job has ended.
    let full = NewJob {
        queue_limit: 1,
        ..given::keyed("k", 1)
    };
    assert_eq!(
        store.submit(full, at(1)).await.unwrap(),
        Submitted::Existing(first)
    );
    store.cancel(&default, first, at(2)).await.unwrap();
    let again = store.submit(given::keyed("k", 1), at(3)).await.unwrap();
    assert_eq!(again, Submitted::Existing(first));
}

pub async fn a_key_with_another_body_is_refused(store: AnyStore) {
    given::submitted(&store, given::keyed("k", 1), at(0)).await;
    let other = store.submit(given::keyed("k", 2), at(1)).await;
    assert!(matches!(other, Err(StoreError::KeyReused)));
}

pub async fn a_key_belongs_to_its_tenant_and_method(store: AnyStore) {
    given::submitted(&store, given::keyed("k", 1), at(0)).await;
    let other_tenant = NewJob {
        tenant: tenant("other"),
        ..given::keyed("k", 2)
    };
    let mut other_method = given::keyed("k", 3);
    other_method.idempotency.as_mut().unwrap().method = "Execute".into();
    for job in [other_tenant, other_method, given::keyed("k2", 4), given::job()] {
        let id = job.id;
        assert_eq!(store.submit(job, at(1)).await.unwrap(), Submitted::New(id));
    }
}

pub async fn one_key_used_at_once_makes_one_job(store: AnyStore) {
    let mut submits = JoinSet::new();
    for _ in 0..24 {
        let store = store.clone();
        submits.spawn(async move { store.submit(given::keyed("k", 1), at(0)).await.unwrap() });
    }
    let told = submits.join_all().await;
    let ids: BTreeSet<JobId> = told
        .iter()
        .map(|told| match told {
            Submitted::New(id) | Submitted::Existing(id) => *id,
        })
        .collect();
    let new = told
        .iter()
        .filter(|told| matches!(told, Submitted::New(_)))
        .count();
    assert_eq!((ids.len(), new), (1, 1));
}

pub async fn a_full_queue_refuses_and_drains(store: AnyStore) {
    let limited = |name: &str| NewJob {
        queue_limit: 2,
        ..given::job_of(name)
    };
    given::submitted(&store, limited("a"), at(0)).await;
    let second = given::submitted(&store, limited("a"), at(0)).await;
    let full = store.submit(limited("a"), at(0)).await;
    assert!(matches!(full, Err(StoreError::QueueFull { queued: 2, limit: 2 })));
    // Another tenant's queue is its own.
    given::submitted(&store, limited("b"), at(0)).await;
    // A running and a cancelled job do not wait any more.
    let claim = given::claimed(&store, at(0)).await;
    assert_eq!(claim.job.tenant, tenant("a"));
    store.cancel(&tenant("a"), second, at(0)).await.unwrap();
    given::submitted(&store, limited("a"), at(0)).await;
    given::submitted(&store, limited("a"), at(0)).await;
    let full = store.submit(limited("a"), at(0)).await;
    assert!(matches!(full, Err(StoreError::QueueFull { .. })));
}

pub async fn a_file_must_exist_and_be_the_tenants_own(store: AnyStore) {
    let naming = |file: FileId| {
        let mut job = given::job();
        job.spec.stdin = Some(Content::Stored(file));
        job
    };
    let foreign = given::file_of("other", None, at(0));
    store.put_file(foreign.clone()).await.unwrap();
    for file in [FileId::generate(), foreign.id] {
        let job = naming(file);
        let id = job.id;
        assert!(matches!(
            store.submit(job, at(0)).await,
            Err(StoreError::NotFound)
        ));
        assert!(
            store.get(&tenant("default"), id).await.is_err(),
            "half a job was kept"
        );
    }
    let own = given::file_of("default", None, at(0));
    store.put_file(own.clone()).await.unwrap();
    given::submitted(&store, naming(own.id), at(0)).await;
}

pub async fn jobs_are_claimed_by_priority_then_age(store: AnyStore) {
    let mut expected = Vec::new();
    for (place, priority) in [(2, 0), (0, 9), (3, 0), (4, -1), (1, 9)] {
        let mut job = given::job();
        job.spec.priority = priority;
        expected.push((place, given::submitted(&store, job, at(0)).await));
    }
    expected.sort();
    for (_, id) in expected {
        assert_eq!(given::claimed(&store, at(1)).await.job.id, id);
    }
    assert!(
        store
            .claim(WorkerId::generate(), LEASE, at(1))
            .await
            .unwrap()
            .is_none()
    );
}

pub async fn a_busy_tenant_does_not_starve_the_others(store: AnyStore) {
    for _ in 0..6 {
        let mut job = given::job_of("busy");
        job.spec.priority = 100;
        given::submitted(&store, job, at(0)).await;
    }
    for name in ["quiet", "quiet", "late"] {
        given::submitted(&store, given::job_of(name), at(1)).await;
    }
    let mut order = Vec::new();
    for _ in 0..9 {
        order.push(given::claimed(&store, at(2)).await.job.tenant.to_string());
    }
    // Everybody's first job before anybody's second.
    assert_eq!(order[..3].iter().collect::<BTreeSet<_>>().len(), 3, "{order:?}");
    assert_eq!(order[3..5].iter().collect::<BTreeSet<_>>().len(), 2, "{order:?}");
    assert!(order[5..].iter().all(|name| name == "busy"), "{order:?}");
}

pub async fn tenants_take_turns_when_jobs_end_at_once(store: AnyStore) {
    for name in ["a", "a", "a", "b", "b", "b", "c", "c", "c"] {
        given::submitted(&store, given::job_of(name), at(0)).await;
    }
    let mut order = Vec::new();
    for _ in 0..9 {
        let claim = given::claimed(&store, at(1)).await;
        order.push(claim.job.tenant.to_string());
        store
            .end(given::attempt_of(&claim), given::finished(), vec![], at(1))
            .await
            .unwrap();
    }
    for round in order.chunks(3) {
        assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 3, "{order:?}");
    }
}

pub async fn what_is_not_due_or_has_expired_is_skipped(store: AnyStore) {
    let brief = |priority| {
        let mut job = given::job();
        job.spec.queue_timeout = Duration::from_millis(10);
        job.spec.priority = priority;
        job
    };
    let expired = given::submitted(&store, brief(5), at(0)).await;
    let due = given::submitted(&store, brief(0), at(50)).await;
    let later = given::submitted(&store, brief(5), at(56)).await;
    assert_eq!(given::claimed(&store, at(55)).await.job.id, due);
    assert!(
        store
            .claim(WorkerId::generate(), LEASE, at(55))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(given::claimed(&store, at(56)).await.job.id, later);
    let still = store.get(&tenant("default"), expired).await.unwrap().state;
    assert!(matches!(still, JobState::Queued { .. }));
}

pub async fn no_job_is_claimed_twice_at_once(store: AnyStore) {
    let mut waiting = BTreeSet::new();
    for n in 0..60 {
        waiting.insert(given::submitted(&store, given::job_of(["a", "b", "c"][n % 3]), at(0)).await);
    }
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        workers.spawn(async move {
            let mut mine = Vec::new();
            let worker = WorkerId::generate();
            while let Some(claim) = store.claim(worker, LEASE, at(1)).await.unwrap() {
                mine.push(claim.job.id);
            }
            mine
        });
    }
    let claimed: Vec<JobId> = workers.join_all().await.concat();
    assert_eq!(claimed.len(), waiting.len());
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), waiting);
}
