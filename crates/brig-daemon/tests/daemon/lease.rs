//! The lease: kept while the program runs, and when it is lost the program is killed.

use crate::support::*;
use brig_api::pb;
use std::time::Duration;

#[tokio::test]
async fn a_long_job_keeps_its_lease() {
    let daemon = Daemon::start_with(|config| config.lease = Duration::from_secs(3)).await;
    let job = daemon.submit(script("wait end")).await;
    daemon.backend.next_start().await;
    // Longer than the lease: every renewal reaches the cell too.
    daemon.backend.renewed(4).await;
    daemon.backend.open_gate("end");
    assert_eq!(daemon.end_of(&job).await.state(), pb::JobState::Finished);
}

#[tokio::test]
async fn a_program_whose_lease_was_lost_is_killed() {
    let daemon = Daemon::start_with(|config| config.lease = Duration::from_secs(3)).await;
    let job = daemon.submit(script("wait for-ever")).await;
    daemon.backend.next_start().await;
    daemon.take_over().await;
    let job = daemon.end_of(&job).await;
    assert_eq!(failure_kind(&job), Some(pb::FailureKind::Interrupted));
    daemon.backend.no_cells().await;
}
