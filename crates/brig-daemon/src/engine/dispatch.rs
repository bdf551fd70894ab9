//! The dispatcher: a free slot takes the next due job; the rest wait in the store, in order.

use super::run_attempt::run_attempt;
use super::seat::Seat;
use super::{Engine, lease};
use crate::clock;
use brig_core::store::{AttemptRef, Claim};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{Instrument, error, info_span};

/// How long to wait after the store failed.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Starts jobs until the daemon drains. Never runs more at once than there are slots.
pub(crate) async fn run(engine: Arc<Engine>) {
    loop {
        let slot = Arc::clone(&engine.slots).acquire_owned();
        // The semaphore is never closed.
        let Some(Ok(slot)) = engine.draining.run_until_cancelled(slot).await else {
            return;
        };
        let Some((claim, seat)) = next_job(&engine).await else {
            return;
        };
        start(&engine, claim, seat, slot);
    }
}

/// Waits for the next due job; `None` when the daemon drains. A claim that was begun is never abandoned half-way:
/// it may have been committed.
async fn next_job(engine: &Engine) -> Option<(Claim, Arc<Seat>)> {
    while !engine.draining.is_cancelled() {
        match claim(engine).await {
            Ok(Some(job)) => return Some(job),
            Ok(None) => {
                engine
                    .draining
                    .run_until_cancelled(engine.work.notified())
                    .await?;
            }
            Err(error) => {
                error!(%error, "no job can be claimed");
                let pause = tokio::time::sleep(STORE_PAUSE);
                engine.draining.run_until_cancelled(pause).await?;
            }
        }
    }
    None
}

/// Claims and seats in one step for everybody who looks.
async fn claim(engine: &Engine) -> Result<Option<(Claim, Arc<Seat>)>, brig_core::store::StoreError> {
    let seating = engine.seats.claiming.lock().await;
    let span = engine.settings.lease;
    // Before the store's clock is read: the cell must be gone before the store takes the job away.
    let asked = Instant::now();
    let now = clock::now();
    let claim = engine.store.claim(engine.worker, span, now).await?;
    let seated = claim.map(|claim| {
        let attempt = AttemptRef {
            job: claim.job.id,
            attempt: claim.attempt,
        };
        (
            claim,
            engine.seats.take(attempt, lease::cell_dies_at(asked, span)),
        )
    });
    drop(seating);
    Ok(seated)
}

fn start(engine: &Arc<Engine>, claim: Claim, seat: Arc<Seat>, slot: OwnedSemaphorePermit) {
    let span = info_span!("attempt", job = %claim.job.id, attempt = claim.attempt);
    let lease_end = clock::now().plus(engine.settings.lease);
    engine.expiry.not_later_than(lease_end);
    let seated = Seated {
        engine: Arc::clone(engine),
        seat,
        _slot: slot,
    };
    engine.metrics.attempt_started();
    engine.tasks.spawn(
        async move {
            run_attempt(&seated.engine, claim, &seated.seat).await;
        }
        .instrument(span),
    );
}

/// A running attempt's seat and slot, given back when it is over, however it ends: by then its cell is gone.
struct Seated {
    engine: Arc<Engine>,
    seat: Arc<Seat>,
    _slot: OwnedSemaphorePermit,
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.engine.seats.leave(&self.seat);
        self.engine.metrics.attempt_left();
    }
}
