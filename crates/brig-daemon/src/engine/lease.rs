//! The lease of a running attempt: heartbeats, and what happens when it is lost.
//!
//! ```text
//!  store    |──────────────── lease ────────────────|   after it another worker may take the job
//!  cell     |────────────── 5/6 of it ──────|           then PID 1 and the keeper end the cell, each by its own clock
//!  daemon   |───1/4───|───1/4───|───1/4───|             renews in the store, then tells the cell
//! ```
//!
//! Only a renewal that the store has committed moves the cell's deadline, and it is counted from before the store was
//! asked. A daemon that is stopped therefore has no running cell when its lease ends, however long anything took.

use super::Engine;
use super::seat::Seat;
use crate::clock;
use brig_core::store::StoreError;
use brig_core::{JobState, KillCause};
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tracing::warn;

/// Half a second is what a cell takes to die at most, twice that where nothing goes before other work.
const SHORTEST_MARGIN: Duration = Duration::from_secs(1);

/// When a cell has to kill itself whose lease was asked for at `asked`: a sixth of the lease, at least a second, is
/// left for its death.
pub(crate) fn cell_dies_at(asked: Instant, lease: Duration) -> Instant {
    asked + lease.saturating_sub(SHORTEST_MARGIN.max(lease / 6))
}

/// Renews the lease until dropped. When it is lost the program is killed, because another worker may start it.
pub(crate) async fn hold(engine: &Engine, seat: &Seat) -> Infallible {
    let lease = engine.settings.lease;
    // The first heartbeat comes a quarter into the lease, so that another may fail before the cell dies (of the usual
    // leases: two).
    let beat = lease / 4;
    loop {
        tokio::time::sleep(beat).await;
        let asked = Instant::now();
        match engine.store.renew(seat.attempt, lease, clock::now()).await {
            Ok(state) => {
                seat.renew(cell_dies_at(asked, lease));
                // Also seen here, should the notice of a cancellation have been missed.
                if matches!(state, JobState::Cancelling(_)) {
                    seat.kill(KillCause::Cancelled);
                }
            }
            Err(error) => {
                let lost = matches!(error, StoreError::Refused(_) | StoreError::NotFound);
                if lost || Instant::now() + beat >= seat.lease_until() {
                    warn!(job = %seat.attempt.job, %error, "the lease is lost; the program is killed");
                    seat.kill(KillCause::Abandoned);
                    return std::future::pending().await;
                }
                warn!(job = %seat.attempt.job, %error, "the lease could not be renewed yet");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_a_second_to_die_in_and_its_daemon_two_tries_to_keep_it() {
        let asked = Instant::now();
        for lease in [crate::config::SHORTEST_LEASE, Duration::from_secs(30)] {
            let dies = cell_dies_at(asked, lease);
            assert!(dies + Duration::from_secs(1) <= asked + lease);
            assert!(dies > asked + 2 * (lease / 4));
        }
    }
}
