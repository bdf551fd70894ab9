//! The lease of a running attempt: heartbeats, and what happens when it is lost.

use super::Engine;
use super::seat::Seat;
use brig_core::store::StoreError;
use brig_core::{JobState, KillCause, Timestamp};
use std::convert::Infallible;
use tokio::time::Instant;
use tracing::warn;

/// Renews the lease until dropped. When it is lost the program is killed, because another worker may start it.
pub(crate) async fn hold(engine: &Engine, seat: &Seat) -> Infallible {
    let lease = engine.settings.lease;
    // The first heartbeat comes a third into the lease, so that two more may fail.
    let beat = lease / 3;
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(beat).await;
        let asked = Instant::now();
        match engine.store.renew(seat.attempt, lease, Timestamp::now()).await {
            Ok(state) => {
                renewed = asked;
                seat.renew(lease);
                // Also seen here, should the notice of a cancellation have been missed.
                if matches!(state, JobState::Cancelling(_)) {
                    seat.kill(KillCause::Cancelled);
                }
            }
            Err(error) => {
                let lost = matches!(error, StoreError::Refused(_) | StoreError::NotFound);
                if lost || renewed.elapsed() + beat >= lease {
                    warn!(job = %seat.attempt.job, %error, "the lease is lost; the program is killed");
                    seat.kill(KillCause::Abandoned);
                    return std::future::pending().await;
                }
                warn!(job = %seat.attempt.job, %error, "the lease could not be renewed yet");
            }
        }
    }
}
