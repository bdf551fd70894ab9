//! Calls with one answer.

use super::scripted::{Daemon, Seen, draft, eager, record};
use brig_api::client::Origin;
use brig_api::{ApiError, BrigClient, ServiceError, StateKind};
use brig_core::fault::Fault;
use brig_core::store::JobFilter;
use tonic::Status;

fn draining() -> Status {
    // Without the hint of a second, so that the test does not take one.
    Status::unavailable("draining")
}

#[tokio::test]
async fn a_submit_is_tried_again_only_with_a_key() {
    let daemon = Daemon::with_turns([]).refusing([draining(), draining()]);
    let (client, _running) = daemon.embedded().await;
    let error = client.submit(draft(), None).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Transient);
    assert_eq!(daemon.seen(), [Seen::Submit]);
    let accepted = client.submit(draft(), Some("k".into())).await.unwrap();
    assert_eq!((accepted.job, accepted.origin), (daemon.job, Origin::New));
    assert_eq!(daemon.seen(), [Seen::Submit, Seen::Submit, Seen::Submit]);
}

#[tokio::test]
async fn a_hint_that_is_longer_than_patience_is_passed_on() {
    let full = || Status::from(ServiceError::QueueFull { queued: 3, limit: 3 });
    let daemon = Daemon::with_turns([]).refusing([full()]);
    let (client, _running) = daemon.embedded().await;
    let error = client.submit(draft(), Some("k".into())).await.unwrap_err();
    assert_eq!((error.fault(), error.reason()), (Fault::Busy, Some("QUEUE_FULL")));
    assert!(error.retry_after().is_some());
    assert!(error.to_string().contains("3 jobs are waiting"), "{error}");
}

#[tokio::test]
async fn reading_is_tried_again() {
    let daemon = Daemon::with_turns([]).refusing([draining()]);
    let (client, _running) = daemon.embedded().await;
    assert_eq!(client.get(daemon.job).await.unwrap(), record(daemon.job));
    let page = client.list(JobFilter::default(), 0, None).await.unwrap();
    assert_eq!(
        (page.jobs, page.next.as_deref()),
        (vec![record(daemon.job)], Some("more"))
    );
    assert_eq!(client.cancel(daemon.job).await.unwrap(), StateKind::Cancelling);
}

#[tokio::test]
async fn a_fault_is_told_at_once_with_its_id() {
    let fault = Status::from(ServiceError::Internal {
        correlation_id: "c-1".into(),
    });
    let daemon = Daemon::with_turns([]).refusing([fault]);
    let (client, _running) = daemon.embedded().await;
    let ApiError::Answer(answer) = client.get(daemon.job).await.unwrap_err() else {
        panic!("an answer")
    };
    assert_eq!(answer.correlation_id.as_deref(), Some("c-1"));
}

#[tokio::test]
async fn nobody_at_the_address_is_told_with_the_address() {
    let error = BrigClient::connect("unix:/nonexistent/brig.sock")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("unix:/nonexistent/brig.sock"),
        "{error}"
    );
    assert!(matches!(error, ApiError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn an_engine_in_this_process_that_has_ended_is_an_error() {
    let daemon = Daemon::with_turns([]);
    let apart = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let _running = {
        let _entered = apart.enter();
        daemon.serve(theirs)
    };
    let client = BrigClient::embedded(ours).await.unwrap().with_retry(eager());
    assert!(client.get(daemon.job).await.is_ok());
    // Dropping a runtime waits for its threads (and is not allowed to block a thread that runs tasks): from here on
    // nobody serves.
    tokio::task::spawn_blocking(move || drop(apart)).await.unwrap();
    let error = client.get(daemon.job).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Transient, "{error:?}");
}
