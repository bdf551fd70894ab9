//! The rescuer: fails or requeues jobs whose queue time-out or lease has run out, and after a restart those of the
//! daemon before.

use crate::clock;
use crate::engine::Engine;
use brig_core::store::{Changed, StoreError};
use brig_core::{JobState, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tracing::{error, info};

/// How long to wait after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// How soon leases are looked at again that were left alone.
const HELD_BACK: Duration = Duration::from_millis(500);

/// When the next time-out may run out, so that the rescuer sleeps until then.
#[derive(Debug)]
pub(crate) struct ExpiryClock {
    next: AtomicI64,
    earlier: Notify,
    /// Attempts of this daemon that have ended and whose end is not recorded yet.
    held_back: AtomicUsize,
}

/// Leases are left alone until it is dropped.
#[derive(Debug)]
pub(crate) struct HeldBack<'a>(&'a ExpiryClock);

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.0.held_back.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Default for ExpiryClock {
    fn default() -> Self {
        Self {
            next: AtomicI64::new(i64::MAX),
            earlier: Notify::new(),
            held_back: AtomicUsize::new(0),
        }
    }
}

impl ExpiryClock {
    /// An attempt of this daemon has ended and waits for its record: no lease is taken for lost meanwhile.
    pub(crate) fn hold_back(&self) -> HeldBack<'_> {
        self.held_back.fetch_add(1, Ordering::AcqRel);
        HeldBack(self)
    }

    fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::Acquire) > 0
    }

    /// Something runs out at `time`: wakes the rescuer only when it would sleep longer.
    pub(crate) fn not_later_than(&self, time: Timestamp) {
        let before = self.next.fetch_min(time.as_millis(), Ordering::AcqRel);
        if time.as_millis() < before {
            self.earlier.notify_one();
        }
    }

    async fn wait(&self) {
        loop {
            let next = Timestamp::from_millis(self.next.load(Ordering::Acquire));
            let left = next.since(clock::now());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(Duration::from_secs(3600))) => {}
                () = self.earlier.notified() => {}
            }
        }
    }
}

/// Ends what a daemon before this one left running. Called once, before anything else.
pub(crate) async fn recover(engine: &Engine) -> Result<(), StoreError> {
    let changed = engine.store.recover(engine.worker, clock::now()).await?;
    tell(engine, changed, "its daemon is gone");
    Ok(())
}

/// Watches the clock until cancelled.
pub(crate) async fn run(engine: Arc<Engine>) {
    loop {
        if let Err(error) = rescue(&engine).await {
            error!(%error, "time-outs cannot be looked for");
            tokio::time::sleep(STORE_PAUSE).await;
            continue;
        }
        engine.expiry.wait().await;
    }
}

async fn rescue(engine: &Engine) -> Result<(), StoreError> {
    // Anything that is noticed while the store is asked lowers it again.
    engine.expiry.next.store(i64::MAX, Ordering::Release);
    let now = clock::now();
    tell(
        engine,
        engine.store.expire_queue(now).await?,
        "it waited too long",
    );
    let held_back = engine.expiry.is_held_back();
    if !held_back {
        tell(
            engine,
            engine.store.expire_leases(now).await?,
            "its lease ran out",
        );
    }
    if let Some(next) = engine.store.next_expiry().await? {
        // Never at once again, should the store count in coarser steps.
        let soonest = next.plus(Duration::from_millis(1));
        engine.expiry.not_later_than(if held_back {
            soonest.max(now.plus(HELD_BACK))
        } else {
            soonest
        });
    }
    Ok(())
}

fn tell(engine: &Engine, changed: Vec<Changed>, why: &'static str) {
    for Changed { job, state, events } in changed {
        info!(%job, state = state.word(), why, "ended or requeued");
        engine.publish(events, None);
        if let JobState::Queued { .. } = state {
            engine.work.notify_one();
        }
    }
}
