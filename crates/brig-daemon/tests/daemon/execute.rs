//! Accepting and running: order, limits of load, idempotency, bad requests, files.

use crate::support::*;
use brig_api::pb;
use brig_api::pb::job_event::Body;
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn a_program_runs_and_tells_everything_in_order() {
    let daemon = Daemon::start().await;
    let events = all_events(
        daemon
            .execute(script("out hello\nerr oops\nexit 3"))
            .await
            .unwrap(),
    )
    .await;
    assert!(matches!(events[0].body, Some(Body::Queued(_))));
    assert!(matches!(events[1].body, Some(Body::Started(_))));
    assert_eq!(
        numbers(&events),
        (1..=u64::try_from(events.len()).unwrap()).collect::<Vec<_>>()
    );
    assert_eq!(output(&events, pb::OutputStream::Stdout), b"hello\n");
    assert_eq!(output(&events, pb::OutputStream::Stderr), b"oops\n");
    let job = ended(&events);
    assert_eq!(job.state(), pb::JobState::Finished);
    assert_eq!(
        job,
        daemon.get(&job.job_id).await,
        "the last event carries the record"
    );
    let Some(pb::job::Result::Outcome(outcome)) = job.result else {
        panic!("an outcome")
    };
    let verdict = outcome.verdict.unwrap();
    assert_eq!((verdict.kind(), verdict.code), (pb::VerdictKind::Exited, Some(3)));
    assert_eq!(outcome.stdout.unwrap().produced_bytes, 6);
    assert!(job.created_by.starts_with("uid:"), "{}", job.created_by);
}

#[tokio::test]
async fn queued_jobs_run_in_order_and_never_more_at_once_than_there_are_slots() {
    let daemon = Daemon::start_with(|config| config.max_concurrent = 2).await;
    let mut jobs = Vec::new();
    for n in 0..6 {
        jobs.push(daemon.submit(script(&format!("out {n}\nwait gate-{n}"))).await);
    }
    let mut started = vec![
        daemon.backend.next_start().await,
        daemon.backend.next_start().await,
    ];
    started.sort();
    assert_eq!(started, ["out 0", "out 1"]);
    for n in 0..4 {
        daemon.backend.open_gate(&format!("gate-{n}"));
        assert_eq!(daemon.backend.next_start().await, format!("out {}", n + 2));
    }
    daemon.backend.open_gate("gate-4");
    daemon.backend.open_gate("gate-5");
    for job in &jobs {
        assert_eq!(daemon.end_of(job).await.state(), pb::JobState::Finished);
    }
    assert_eq!(daemon.backend.most_cells(), 2);
}

#[tokio::test]
async fn a_full_queue_says_when_to_try_again() {
    let daemon = Daemon::start_with(|config| {
        config.max_concurrent = 1;
        config.max_queued = 1;
    })
    .await;
    daemon.submit(script("wait end")).await;
    daemon.backend.next_start().await;
    let waiting = daemon.submit(script("out 2")).await;
    let refused = daemon.execute(script("out 3")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert!(details.retry_info().is_some() && details.quota_failure().is_some());
    daemon.backend.open_gate("end");
    assert_eq!(daemon.end_of(&waiting).await.state(), pb::JobState::Finished);
}

async fn submit_with_key(
    daemon: &Daemon,
    spec: pb::JobSpec,
    key: &str,
) -> Result<pb::SubmitResponse, tonic::Status> {
    let request = pb::SubmitRequest {
        spec: Some(spec),
        idempotency_key: key.to_owned(),
    };
    Ok(daemon.client().submit(request).await?.into_inner())
}

#[tokio::test]
async fn a_key_runs_a_request_once_also_when_many_come_at_the_same_time() {
    let daemon = Daemon::start().await;
    let first = submit_with_key(&daemon, script("out 1"), "key").await.unwrap();
    assert!(!first.existing);
    let again = submit_with_key(&daemon, script("out 1"), "key").await.unwrap();
    assert_eq!((again.job_id, again.existing), (first.job_id.clone(), true));
    let other = submit_with_key(&daemon, script("out 2"), "key")
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition);
    daemon.end_of(&first.job_id).await;

    let at_once = (0..8).map(|_| submit_with_key(&daemon, script("out 3"), "other"));
    let ids = futures_util::future::join_all(at_once).await;
    let ids: std::collections::BTreeSet<String> = ids.into_iter().map(|id| id.unwrap().job_id).collect();
    assert_eq!(ids.len(), 1);
    daemon.end_of(ids.first().unwrap()).await;
    assert_eq!(daemon.backend.runs(), 2);
}

#[tokio::test]
async fn a_repeated_execute_gives_the_events_of_the_first_job() {
    let daemon = Daemon::start().await;
    let request = pb::ExecuteRequest {
        spec: Some(script("out once")),
        idempotency_key: "key".to_owned(),
        ..Default::default()
    };
    let first = daemon
        .client()
        .execute(request.clone())
        .await
        .unwrap()
        .into_inner();
    let first = all_events(first).await;
    let again = daemon.client().execute(request).await.unwrap().into_inner();
    assert_eq!(all_events(again).await, first);
    assert_eq!(daemon.backend.runs(), 1);
}

#[tokio::test]
async fn a_bad_request_names_its_fields_and_starts_nothing() {
    let daemon = Daemon::start().await;
    let mut spec = script("out 1");
    spec.limits = Some(pb::Limits {
        memory_bytes: Some(1 << 50),
        wall_time: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
        ..Default::default()
    });
    let mut image = script("out 1");
    image.image = "no-such-image".to_owned();
    let cases = [
        (spec, "spec.limits.wall_time"),
        (image, "spec.image"),
        (pb::JobSpec::default(), "spec.program"),
    ];
    for (spec, field) in cases {
        let refused = daemon.execute(spec).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let details = refused.get_error_details();
        let fields: Vec<String> = details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|v| v.field.clone())
            .collect();
        assert!(fields.iter().any(|f| f == field), "{field} in {fields:?}");
    }
    assert_eq!(daemon.backend.runs(), 0);
    all_events(daemon.execute(script("out 1")).await.unwrap()).await;
    assert_eq!(daemon.backend.runs(), 1);
}

#[tokio::test]
async fn an_unknown_id_is_not_found() {
    let daemon = Daemon::start().await;
    let unknown = brig_core::JobId::generate().to_string();
    let get = pb::GetRequest {
        job_id: unknown.clone(),
    };
    assert_eq!(daemon.client().get(get).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(daemon.cancel(&unknown).await.unwrap_err().code(), Code::NotFound);
    let watch = pb::WatchRequest {
        job_id: unknown,
        from_seq: 1,
    };
    assert_eq!(
        daemon.client().watch(watch).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        daemon.cancel("../etc").await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_job_that_waits_too_long_fails_as_queue_expired() {
    let daemon = Daemon::start_with(|config| config.max_concurrent = 1).await;
    daemon.submit(script("wait end")).await;
    daemon.backend.next_start().await;
    let mut spec = script("out late");
    spec.queue_timeout = Some(prost_types::Duration {
        seconds: 0,
        nanos: 50_000_000,
    });
    let late = daemon.submit(spec).await;
    let job = daemon.end_of(&late).await;
    assert_eq!(failure_kind(&job), Some(pb::FailureKind::QueueExpired));
    daemon.backend.open_gate("end");
}

#[tokio::test]
async fn a_secret_reaches_the_program_and_nothing_else() {
    let daemon = Daemon::start().await;
    let mut spec = script("out x\nenv TOKEN");
    spec.env.push(pb::EnvEntry {
        name: "TOKEN".to_owned(),
        content: Some(pb::env_entry::Content::Secret("hunter2".to_owned())),
    });
    let events = all_events(daemon.execute(spec).await.unwrap()).await;
    assert_eq!(output(&events, pb::OutputStream::Stdout), b"x\n[secret]");
    let mut open = vec![daemon.data.path().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                let found = bytes.windows(7).any(|window| window == b"hunter2");
                assert!(!found, "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn a_list_has_pages_and_filters() {
    let daemon = Daemon::start().await;
    for n in 0..5 {
        let mut spec = script("out 1");
        spec.labels.insert("n".to_owned(), n.to_string());
        all_events(daemon.execute(spec).await.unwrap()).await;
    }
    let mut request = pb::ExecutionServiceListRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = daemon.client().list(request.clone()).await.unwrap().into_inner();
        seen.extend(page.jobs.into_iter().map(|job| job.job_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen.len(), 5);
    let labels = [("n".to_owned(), "3".to_owned())].into();
    let filter = Some(pb::JobFilter {
        labels,
        ..Default::default()
    });
    let request = pb::ExecutionServiceListRequest {
        filter,
        ..Default::default()
    };
    let page = daemon.client().list(request).await.unwrap().into_inner();
    assert_eq!(page.jobs.len(), 1);
    let request = pb::ExecutionServiceListRequest {
        page_token: "nonsense".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        daemon.client().list(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}
