//! Lists, pages, and whose jobs are seen.

use super::given::{self, AnyStore, at, tenant};
use brig_core::JobId;
use brig_core::store::{JobFilter, StoreError};
use std::collections::BTreeMap;

pub async fn pages_show_every_job_once_newest_first(store: AnyStore) {
    let default = tenant("default");
    let mut expected = Vec::new();
    for _ in 0..23 {
        expected.push(given::submitted(&store, given::job(), at(0)).await);
    }
    expected.reverse();
    let (mut seen, mut page): (Vec<JobId>, Option<String>) = (Vec::new(), None);
    loop {
        let got = store
            .list(&default, &JobFilter::default(), 5, page.as_deref())
            .await
            .unwrap();
        assert!(got.jobs.len() <= 5);
        seen.extend(got.jobs.iter().map(|job| job.id));
        // What comes in between does not move the pages.
        given::submitted(&store, given::job(), at(1)).await;
        match got.next {
            Some(next) => page = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

pub async fn a_page_token_of_nobody_is_refused(store: AnyStore) {
    let default = tenant("default");
    for _ in 0..3 {
        given::submitted(&store, given::job(), at(0)).await;
    }
    let filter = JobFilter::default();
    let token = store
        .list(&default, &filter, 1, None)
        .await
        .unwrap()
        .next
        .unwrap();
    assert!(store.list(&default, &filter, 1, Some(&token)).await.is_ok());
    let other = JobFilter {
        created_by: Some("uid:7".into()),
        ..JobFilter::default()
    };
    for (tenant, filter, token) in [
        (&tenant("other"), &filter, token.as_str()),
        (&default, &other, token.as_str()),
        (&default, &filter, "x"),
        (&default, &filter, ""),
    ] {
        let refused = store.list(tenant, filter, 1, Some(token)).await;
        assert!(matches!(refused, Err(StoreError::InvalidPageToken)));
    }
}

pub async fn a_filter_selects_by_state_labels_and_submitter(store: AnyStore) {
    let labelled = |labels: &[(&str, &str)], created_by: &str| {
        let mut job = given::job();
        job.created_by = created_by.into();
        job.spec.labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        job
    };
    let plain = given::submitted(&store, labelled(&[], "a"), at(0)).await;
    let red = given::submitted(&store, labelled(&[("color", "red")], "a"), at(0)).await;
    let both = given::submitted(&store, labelled(&[("color", "red"), ("n.\"$", "1")], "b"), at(0)).await;
    store.cancel(&tenant("default"), plain, at(1)).await.unwrap();
    type Case<'a> = (
        &'a [&'a str],
        &'a [(&'a str, &'a str)],
        Option<&'a str>,
        Vec<JobId>,
    );
    let cases: [Case<'_>; 9] = [
        (&[], &[], None, vec![both, red, plain]),
        (&["queued"], &[], None, vec![both, red]),
        (&["cancelled"], &[], None, vec![plain]),
        (&["queued", "cancelled"], &[], None, vec![both, red, plain]),
        (&["no such state"], &[], None, vec![]),
        (&[], &[("color", "red")], None, vec![both, red]),
        (&[], &[("color", "red"), ("n.\"$", "1")], None, vec![both]),
        (&[], &[("color", "blue")], None, vec![]),
        (&["queued"], &[("color", "red")], Some("a"), vec![red]),
    ];
    for (states, labels, created_by, expected) in cases {
        let filter = JobFilter {
            states: states.iter().map(|word| (*word).into()).collect(),
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            created_by: created_by.map(Into::into),
        };
        let got = store.list(&tenant("default"), &filter, 10, None).await.unwrap();
        let got: Vec<JobId> = got.jobs.iter().map(|job| job.id).collect();
        assert_eq!(got, expected, "{filter:?}");
    }
}

pub async fn another_tenants_job_is_not_found(store: AnyStore) {
    let id = given::submitted(&store, given::job_of("owner"), at(0)).await;
    let other = tenant("other");
    assert!(matches!(store.get(&other, id).await, Err(StoreError::NotFound)));
    assert!(matches!(
        store.events(&other, id, 1, 10).await,
        Err(StoreError::NotFound)
    ));
    assert!(matches!(
        store.cancel(&other, id, at(0)).await,
        Err(StoreError::NotFound)
    ));
    let list = store.list(&other, &JobFilter::default(), 10, None).await.unwrap();
    assert!(list.jobs.is_empty());
    // Control: its owner finds it, unchanged.
    let job = store.get(&tenant("owner"), id).await.unwrap();
    assert_eq!((job.state.word(), job.last_seq), ("queued", 1));
}

pub async fn jobs_are_counted_by_state(store: AnyStore) {
    let words = [
        "queued",
        "running",
        "cancelling",
        "finished",
        "failed",
        "cancelled",
    ];
    let none: BTreeMap<String, u64> = words.map(|word| (word.to_owned(), 0)).into();
    assert_eq!(store.counts().await.unwrap(), none);
    given::ended(&store, given::job(), at(0)).await;
    given::submitted(&store, given::job_of("a"), at(0)).await;
    given::claimed(&store, at(0)).await;
    given::submitted(&store, given::job_of("b"), at(0)).await;
    let counts = store.counts().await.unwrap();
    assert_eq!(words.map(|word| counts[word]), [1, 1, 0, 1, 0, 0]);
}
