//! Stopping, crashing and starting again.

use crate::support::fake::Fake;
use crate::support::*;
use brig_api::pb;
use brig_daemon::{ExitCode, ServeError};
use std::time::Duration;
use tonic::Code;

#[tokio::test]
async fn a_draining_daemon_lets_jobs_end_and_accepts_none() {
    let daemon = Daemon::start().await;
    let stream = daemon.execute(script("wait end\nout done")).await.unwrap();
    daemon.backend.next_start().await;
    daemon.shutdown.drain();
    let refused = loop {
        match daemon
            .client()
            .submit(pb::SubmitRequest {
                spec: Some(script("out 2")),
                ..Default::default()
            })
            .await
        {
            Ok(_) => tokio::task::yield_now().await,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.code(), Code::Unavailable);
    let health = tonic_health::pb::health_client::HealthClient::new(daemon.channel())
        .check(tonic_health::pb::HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(
        health.into_inner().status(),
        tonic_health::pb::health_check_response::ServingStatus::NotServing
    );
    daemon.backend.open_gate("end");
    let events = all_events(stream).await;
    assert_eq!(ended(&events).state(), pb::JobState::Finished);
    assert_eq!(daemon.ended().await.unwrap(), ExitCode::Clean);
}

#[tokio::test]
async fn a_job_that_outlives_the_deadline_is_recorded_as_interrupted() {
    let daemon = Daemon::start_with(|config| config.drain = Duration::from_millis(50)).await;
    let stream = daemon
        .execute(script("out partial\nwait for-ever"))
        .await
        .unwrap();
    daemon.backend.next_start().await;
    daemon.shutdown.drain();
    let events = all_events(stream).await;
    assert_eq!(output(&events, pb::OutputStream::Stdout), b"partial\n");
    let job = ended(&events);
    assert_eq!(failure_kind(&job), Some(pb::FailureKind::Interrupted));
    let Some(pb::job::Result::Failure(failure)) = job.result else {
        panic!("a failure")
    };
    assert!(failure.retryable);
    let backend = daemon.backend.clone();
    assert_eq!(daemon.ended().await.unwrap(), ExitCode::Clean);
    assert_eq!(backend.cells(), 0);
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_the_deadline() {
    let daemon = Daemon::start_with(|config| config.drain = Duration::from_secs(3600)).await;
    let stream = daemon.execute(script("wait for-ever")).await.unwrap();
    daemon.backend.next_start().await;
    daemon.shutdown.drain();
    daemon.shutdown.stop_now();
    let job = ended(&all_events(stream).await);
    assert_eq!(failure_kind(&job), Some(pb::FailureKind::Interrupted));
    assert_eq!(daemon.ended().await.unwrap(), ExitCode::Forced);
}

#[tokio::test]
async fn queued_jobs_survive_a_stop_and_run_after_the_next_start() {
    let daemon = Daemon::start_with(|config| {
        config.max_concurrent = 1;
        config.drain = Duration::from_millis(10);
    })
    .await;
    daemon.submit(script("wait for-ever")).await;
    daemon.backend.next_start().await;
    let queued = daemon.submit(script("out later")).await;
    let data = daemon.data.clone();
    daemon.shutdown.drain();
    daemon.ended().await.unwrap();
    let daemon = Daemon::start_on(data, Fake::new(), |_| {}).await;
    assert_eq!(daemon.end_of(&queued).await.state(), pb::JobState::Finished);
}

#[tokio::test]
async fn after_a_crash_running_jobs_are_interrupted_or_requeued_as_their_policy_says() {
    let daemon = Daemon::start().await;
    let once = daemon.submit(script("wait for-ever")).await;
    let mut twice = script("wait go\nout again");
    twice.retry = Some(pb::RetryPolicy {
        max_attempts: Some(2),
    });
    let twice = daemon.submit(twice).await;
    daemon.backend.next_start().await;
    daemon.backend.next_start().await;
    let data = daemon.data.clone();
    daemon.crash().await;

    let daemon = Daemon::start_on(data, Fake::new(), |_| {}).await;
    let once = daemon.end_of(&once).await;
    assert_eq!(failure_kind(&once), Some(pb::FailureKind::Interrupted));
    daemon.backend.next_start().await;
    daemon.backend.open_gate("go");
    let twice = daemon.end_of(&twice).await;
    assert_eq!((twice.state(), twice.attempts), (pb::JobState::Finished, 2));
}

#[tokio::test]
async fn a_job_whose_secrets_were_forgotten_is_not_run() {
    let daemon = Daemon::start_with(|config| {
        config.max_concurrent = 1;
        config.drain = Duration::from_millis(10);
    })
    .await;
    daemon.submit(script("wait for-ever")).await;
    daemon.backend.next_start().await;
    let mut spec = script("env TOKEN");
    spec.env.push(pb::EnvEntry {
        name: "TOKEN".to_owned(),
        content: Some(pb::env_entry::Content::Secret("hunter2".to_owned())),
    });
    let queued = daemon.submit(spec).await;
    let data = daemon.data.clone();
    daemon.shutdown.drain();
    daemon.ended().await.unwrap();
    let daemon = Daemon::start_on(data, Fake::new(), |_| {}).await;
    let job = daemon.end_of(&queued).await;
    assert_eq!(failure_kind(&job), Some(pb::FailureKind::Interrupted));
    assert_eq!(daemon.backend.runs(), 0);
}

#[tokio::test]
async fn a_lost_keeper_ends_the_daemon_and_its_jobs_are_recorded() {
    let daemon = Daemon::start().await;
    let stream = daemon.execute(script("wait for-ever")).await.unwrap();
    daemon.backend.next_start().await;
    daemon.backend.lose();
    let job = ended(&all_events(stream).await);
    assert_eq!(failure_kind(&job), Some(pb::FailureKind::Interrupted));
    let Some(pb::job::Result::Failure(failure)) = job.result else {
        panic!("a failure")
    };
    assert_eq!(failure.reason, "the keeper is gone");
    let error = daemon.ended().await.unwrap_err();
    assert!(matches!(error, ServeError::KeeperLost));
    assert_eq!(ExitCode::from(&error), ExitCode::KeeperLost);
}

#[tokio::test]
async fn a_silent_connection_does_not_keep_a_daemon_alive() {
    let daemon = Daemon::start().await;
    let silent = tokio::net::UnixStream::connect(daemon.data.path().join("brig.sock"))
        .await
        .unwrap();
    daemon.shutdown.drain();
    let ended = tokio::time::timeout(Duration::from_secs(10), daemon.ended()).await;
    assert_eq!(ended.unwrap().unwrap(), ExitCode::Clean);
    drop(silent);
}
