//! Streams of events: no loss, no duplicates, no bare end.

use super::scripted::{Daemon, End, LAST, Seen, away, draft, event, turn};
use brig_api::convert::event::{Body, Event};
use brig_api::{ApiError, BrigClient, EventStream, ExecuteOptions, ServiceError};
use brig_core::event::GapReason;
use std::time::Duration;
use tonic::Status;

fn keyed() -> ExecuteOptions {
    ExecuteOptions {
        idempotency_key: Some("k".into()),
        ..ExecuteOptions::default()
    }
}

async fn all(mut stream: EventStream) -> (Vec<Event>, Option<ApiError>) {
    let mut events = Vec::new();
    while let Some(next) = stream.next().await {
        match next {
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    assert!(stream.next().await.is_none());
    (events, None)
}

fn whole(daemon: &Daemon) -> Vec<Event> {
    (1..=LAST).map(|seq| event(daemon.job, seq)).collect()
}

#[tokio::test]
async fn an_executed_job_is_followed_up_to_its_record() {
    let daemon = Daemon::with_turns([turn(1..=LAST, End::Hang)]);
    let (client, _running) = daemon.embedded().await;
    let mut stream = client.execute(draft(), ExecuteOptions::default()).await.unwrap();
    assert_eq!(stream.job(), None);
    assert_eq!(stream.next().await.unwrap().unwrap(), event(daemon.job, 1));
    assert_eq!(stream.job(), Some(daemon.job));
    let (rest, error) = all(stream).await;
    assert!(error.is_none());
    assert_eq!(rest, whole(&daemon)[1..]);
}

#[tokio::test]
async fn a_stream_that_breaks_at_any_event_goes_on_without_loss_or_duplicates() {
    for broken_after in 1..LAST {
        for end in [away(), End::Silent] {
            let rest = turn(broken_after + 1..=LAST, End::Silent);
            let daemon = Daemon::with_turns([turn(1..=broken_after, end), rest]);
            let (client, _running) = daemon.embedded().await;
            let stream = client.execute(draft(), ExecuteOptions::default()).await.unwrap();
            let (events, error) = all(stream).await;
            assert!(error.is_none(), "{error:?}");
            assert_eq!(events, whole(&daemon));
            assert_eq!(daemon.seen(), [Seen::Execute, Seen::Watch(broken_after + 1)]);
        }
    }
}

#[tokio::test]
async fn a_daemon_that_repeats_itself_is_not_heard_twice() {
    let turns = [
        turn([1, 1, 2, 3, 2], away()),
        turn(1..=5, away()),
        turn(4..=LAST, End::Silent),
    ];
    let daemon = Daemon::with_turns(turns);
    let (client, _running) = daemon.embedded().await;
    let (events, error) = all(client.watch(daemon.job, 0).await.unwrap()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(events, whole(&daemon));
    assert_eq!(daemon.seen(), [Seen::Watch(1), Seen::Watch(4), Seen::Watch(6)]);
}

#[tokio::test]
async fn missing_events_are_told_as_a_gap() {
    let daemon = Daemon::with_turns([turn([1, 2, 6, 7, 8, 9], End::Silent)]);
    let (client, _running) = daemon.embedded().await;
    let (events, error) = all(client.watch(daemon.job, 1).await.unwrap()).await;
    assert!(error.is_none(), "{error:?}");
    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 6, 7, 8, 9]);
    let gap = Body::Gap {
        from_seq: 3,
        to_seq: 5,
        bytes: 0,
        reason: GapReason::SlowWatcher,
    };
    assert_eq!(events[2].body, gap);
}

#[tokio::test]
async fn watching_from_the_middle_gives_the_rest_only() {
    let daemon = Daemon::with_turns([turn(6..=LAST, End::Silent)]);
    let (client, _running) = daemon.embedded().await;
    let (events, error) = all(client.watch(daemon.job, 6).await.unwrap()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(events, whole(&daemon)[5..]);
}

#[tokio::test]
async fn a_daemon_that_never_gets_further_wears_patience_out() {
    let daemon = Daemon::with_turns((0..999).map(|_| turn([1, 2], away())));
    let (client, _running) = daemon.embedded().await;
    let (events, error) = all(client.watch(daemon.job, 1).await.unwrap()).await;
    assert_eq!(events, whole(&daemon)[..2]);
    assert!(matches!(error, Some(ApiError::Answer(_))), "{error:?}");
    assert!(daemon.seen().len() > 10, "{}", daemon.seen().len());
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_sent_again_only_with_a_key() {
    let turns = || [turn([], away()), turn(1..=LAST, End::Silent)];
    let daemon = Daemon::with_turns(turns());
    let (client, _running) = daemon.embedded().await;
    let (events, error) = all(client.execute(draft(), ExecuteOptions::default()).await.unwrap()).await;
    assert!(events.is_empty() && error.is_some());
    assert_eq!(daemon.seen(), [Seen::Execute]);

    let daemon = Daemon::with_turns(turns());
    let (client, _running) = daemon.embedded().await;
    let (events, error) = all(client.execute(draft(), keyed()).await.unwrap()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(events, whole(&daemon));
    assert_eq!(daemon.seen(), [Seen::Execute, Seen::Execute]);
}

#[tokio::test]
async fn a_refusal_is_told_by_the_call_itself() {
    let missing = || Status::from(ServiceError::NotFound { what: "job" });
    let daemon = Daemon::with_turns([]).refusing([missing(), missing()]);
    let (client, _running) = daemon.embedded().await;
    let error = client.watch(daemon.job, 1).await.unwrap_err();
    assert_eq!(error.reason(), Some("NOT_FOUND"));
    let error = client.execute(draft(), keyed()).await.unwrap_err();
    assert_eq!(error.code(), Some(tonic::Code::NotFound));
}

#[tokio::test]
async fn a_deadline_ends_a_stream_that_says_nothing() {
    let daemon = Daemon::with_turns([turn([1], End::Hang)]);
    let (client, _running) = daemon.embedded().await;
    let options = ExecuteOptions {
        deadline: Some(Duration::from_millis(50)),
        ..ExecuteOptions::default()
    };
    let (events, error) = all(client.execute(draft(), options).await.unwrap()).await;
    assert_eq!(events.len(), 1);
    assert!(matches!(error, Some(ApiError::Deadline)), "{error:?}");
}

#[tokio::test]
async fn an_answer_about_another_job_is_not_taken_for_this_one() {
    let daemon = Daemon::with_turns([turn([1], End::Silent)]);
    let (client, _running) = daemon.embedded().await;
    let (events, error) = all(client.watch(brig_core::JobId::generate(), 1).await.unwrap()).await;
    assert!(events.is_empty());
    assert!(matches!(error, Some(ApiError::Reply(_))), "{error:?}");
}

/// A daemon in a runtime of its own, so that it can be killed with all of its connections.
fn serve_apart(daemon: &Daemon, path: &std::path::Path) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let router = daemon.router();
    let listener = {
        let _entered = runtime.enter();
        tokio::net::UnixListener::bind(path).unwrap()
    };
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    // Its end is the runtime's end.
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn_on(
        async move { router.serve_with_incoming(incoming).await.unwrap() },
        runtime.handle(),
    );
    tasks.detach_all();
    runtime
}

#[tokio::test]
async fn a_daemon_that_is_killed_and_started_again_is_found_again() {
    let folder = std::env::temp_dir().join(format!("brig-api-{}", brig_core::JobId::generate()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("brig.sock");
    let daemon = Daemon::with_turns([turn(1..=4, End::Hang), turn(5..=LAST, End::Silent)]);
    let first = serve_apart(&daemon, &path);
    let client = BrigClient::connect(&format!("unix:{}", path.display()))
        .await
        .unwrap();
    let mut stream = client.execute(draft(), ExecuteOptions::default()).await.unwrap();
    for seq in 1..=4 {
        assert_eq!(stream.next().await.unwrap().unwrap(), event(daemon.job, seq));
    }
    first.shutdown_background();
    std::fs::remove_file(&path).unwrap();
    let second = serve_apart(&daemon, &path);
    let (rest, error) = all(stream).await;
    second.shutdown_background();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(error.is_none(), "{error:?}");
    assert_eq!(rest, whole(&daemon)[4..]);
}
