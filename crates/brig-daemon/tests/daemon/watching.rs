//! Watching and stopping: streams that break, callers that leave, cancellation in every state.

use crate::support::*;
use brig_api::pb;
use brig_api::pb::job_event::Body;

#[tokio::test]
async fn a_broken_stream_is_resumed_without_loss_or_duplicate() {
    let daemon = Daemon::start().await;
    let job = daemon.submit(script("out 1\nwait a\nout 2\nwait b\nout 3")).await;
    let mut first = daemon.watch(&job, 1).await;
    let mut seen = Vec::new();
    while output(&seen, pb::OutputStream::Stdout) != b"1\n" {
        seen.push(first.message().await.unwrap().unwrap().event.unwrap());
    }
    drop(first);
    daemon.backend.open_gate("a");
    let next = seen.last().unwrap().seq + 1;
    let rest = daemon.watch(&job, next).await;
    daemon.backend.open_gate("b");
    seen.extend(all_watched(rest).await);
    assert_eq!(
        numbers(&seen),
        (1..=u64::try_from(seen.len()).unwrap()).collect::<Vec<_>>()
    );
    assert_eq!(output(&seen, pb::OutputStream::Stdout), b"1\n2\n3\n");
    let whole = all_watched(daemon.watch(&job, 1).await).await;
    assert_eq!(whole, seen, "a replay tells the same");
    let nothing = all_watched(daemon.watch(&job, seen.last().unwrap().seq + 1).await).await;
    assert_eq!(nothing, []);
}

#[tokio::test]
async fn a_slow_watcher_misses_nothing_that_is_kept() {
    let daemon = Daemon::start().await;
    let mut spec = script("wait go\nflood 6000000\nout end");
    spec.limits = Some(pb::Limits {
        output_kept_bytes: Some(16 << 20),
        ..Default::default()
    });
    let job = daemon.submit(spec).await;
    // Opened before, read only after everything was told: more than any buffer in between holds.
    let slow = daemon.watch(&job, 1).await;
    daemon.backend.next_start().await;
    daemon.backend.open_gate("go");
    daemon.end_of(&job).await;
    let seen = all_watched(slow).await;
    assert_eq!(output(&seen, pb::OutputStream::Stdout).len(), 6_000_004);
    assert_eq!(
        numbers(&seen),
        (1..=u64::try_from(seen.len()).unwrap()).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_flood_keeps_head_and_tail_and_tells_the_gap() {
    let daemon = Daemon::start().await;
    let mut spec = script("out head\nflood 3000000\nerr beside\nflood 3060000\nout tail");
    spec.limits = Some(pb::Limits {
        output_kept_bytes: Some(100_000),
        ..Default::default()
    });
    let live = all_events(daemon.execute(spec).await.unwrap()).await;
    let job = ended(&live);
    let Some(pb::job::Result::Outcome(outcome)) = &job.result else {
        panic!("an outcome")
    };
    let stdout = outcome.stdout.unwrap();
    assert_eq!(stdout.produced_bytes, 6_060_010);
    assert!(stdout.kept_bytes <= 100_000, "{stdout:?}");

    let kept = all_watched(daemon.watch(&job.job_id, 1).await).await;
    let bytes = output(&kept, pb::OutputStream::Stdout);
    assert_eq!(u64::try_from(bytes.len()).unwrap(), stdout.kept_bytes);
    assert!(bytes.starts_with(b"head\n") && bytes.ends_with(b"tail\n"));
    assert_eq!(output(&kept, pb::OutputStream::Stderr), b"beside\n");
    let mut next = 1;
    let mut dropped = 0;
    for event in &kept {
        assert_eq!(event.seq, next);
        next += 1;
        if let Some(Body::Gap(gap)) = &event.body {
            assert_eq!(gap.from_seq, event.seq);
            next = gap.to_seq + 1;
            dropped += gap.dropped_bytes;
        }
    }
    assert_eq!(dropped + stdout.kept_bytes, stdout.produced_bytes);
}

#[tokio::test]
async fn crumbs_of_output_all_arrive_in_order() {
    let daemon = Daemon::start().await;
    let lines: Vec<String> = (0..3000).map(|n| format!("out {n}")).collect();
    let events = all_events(daemon.execute(script(&lines.join("\n"))).await.unwrap()).await;
    let expected: String = (0..3000).map(|n| format!("{n}\n")).collect();
    assert_eq!(output(&events, pb::OutputStream::Stdout), expected.into_bytes());
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_job() {
    let daemon = Daemon::start().await;
    let mut other = daemon.other_client().await;
    let request = pb::ExecuteRequest {
        spec: Some(script("wait for-ever")),
        ..Default::default()
    };
    let mut stream = other.execute(request).await.unwrap().into_inner();
    let job = stream.message().await.unwrap().unwrap().event.unwrap().job_id;
    daemon.backend.next_start().await;
    drop((stream, other));
    let job = daemon.end_of(&job).await;
    assert_eq!(job.state(), pb::JobState::Cancelled);
    assert_eq!(verdict_kind(&job), Some(pb::VerdictKind::Cancelled));
}

#[tokio::test]
async fn a_caller_that_detached_may_go_away() {
    let daemon = Daemon::start().await;
    let mut other = daemon.other_client().await;
    let request = pb::ExecuteRequest {
        spec: Some(script("wait later\nout done")),
        on_disconnect: pb::DisconnectPolicy::Detach.into(),
        ..Default::default()
    };
    let mut stream = other.execute(request).await.unwrap().into_inner();
    let job = stream.message().await.unwrap().unwrap().event.unwrap().job_id;
    daemon.backend.next_start().await;
    drop((stream, other));
    daemon.backend.open_gate("later");
    assert_eq!(daemon.end_of(&job).await.state(), pb::JobState::Finished);
}

#[tokio::test]
async fn a_queued_job_is_cancelled_at_once_and_never_runs() {
    let daemon = Daemon::start_with(|config| config.max_concurrent = 1).await;
    let running = daemon.submit(script("wait end")).await;
    daemon.backend.next_start().await;
    let queued = daemon.submit(script("out never")).await;
    assert_eq!(daemon.cancel(&queued).await.unwrap(), pb::JobState::Cancelled);
    assert_eq!(daemon.cancel(&queued).await.unwrap(), pb::JobState::Cancelled);
    daemon.backend.open_gate("end");
    daemon.end_of(&running).await;
    assert_eq!(daemon.cancel(&running).await.unwrap(), pb::JobState::Finished);
    assert_eq!(daemon.backend.runs(), 1);
}

#[tokio::test]
async fn a_running_job_is_killed_and_its_stream_ends_with_its_record() {
    let daemon = Daemon::start().await;
    let mut stream = daemon
        .execute(script("out partial\nwait for-ever"))
        .await
        .unwrap();
    let job = stream.message().await.unwrap().unwrap().event.unwrap().job_id;
    daemon.backend.next_start().await;
    assert_eq!(daemon.cancel(&job).await.unwrap(), pb::JobState::Cancelling);
    let events = all_events(stream).await;
    assert!(
        events
            .iter()
            .any(|event| matches!(event.body, Some(Body::Cancelling(_))))
    );
    assert_eq!(output(&events, pb::OutputStream::Stdout), b"partial\n");
    let record = ended(&events);
    assert_eq!(
        (record.job_id.as_str(), record.state()),
        (job.as_str(), pb::JobState::Cancelled)
    );
    assert_eq!(verdict_kind(&record), Some(pb::VerdictKind::Cancelled));
    assert_eq!(daemon.cancel(&job).await.unwrap(), pb::JobState::Cancelled);
}

#[tokio::test]
async fn a_job_cancelled_while_its_cell_is_built_never_starts() {
    let daemon = Daemon::start().await;
    daemon.backend.hold_cells_at("cells");
    let job = daemon.submit(script("out never")).await;
    // Claimed: the state says so.
    let mut state = pb::JobState::Queued;
    while state == pb::JobState::Queued {
        state = daemon.get(&job).await.state();
    }
    assert_eq!(daemon.cancel(&job).await.unwrap(), pb::JobState::Cancelling);
    daemon.backend.open_gate("cells");
    let job = daemon.end_of(&job).await;
    assert_eq!(job.state(), pb::JobState::Cancelled);
    assert_eq!(daemon.backend.runs(), 0);
}
