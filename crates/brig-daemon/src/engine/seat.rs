//! Seats: one per running attempt of this daemon, so that a cancellation or a shutdown reaches its cell.

use brig_core::backend::CellControl;
use brig_core::store::AttemptRef;
use brig_core::{JobId, KillCause};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One running attempt, from its claim to its end.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) attempt: AttemptRef,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    killed: Option<KillCause>,
    control: Option<Arc<dyn CellControl>>,
    /// When the cell kills itself, unless the lease is renewed before.
    lease_until: Instant,
}

impl Seat {
    fn new(attempt: AttemptRef, lease_until: Instant) -> Self {
        let inner = Inner {
            killed: None,
            control: None,
            lease_until,
        };
        Self {
            attempt,
            inner: Mutex::new(inner),
        }
    }

    /// The cell is there. A kill that came before reaches it now.
    pub(crate) fn attach(&self, control: Arc<dyn CellControl>) {
        let mut inner = self.lock();
        if let Some(cause) = inner.killed {
            control.kill(cause);
        }
        inner.control = Some(control);
    }

    /// Kills the cell, now or as soon as there is one. The first cause wins.
    pub(crate) fn kill(&self, cause: KillCause) {
        let mut inner = self.lock();
        if inner.killed.is_none() {
            inner.killed = Some(cause);
            if let Some(control) = &inner.control {
                control.kill(cause);
            }
        }
    }

    /// Why it was killed, if it was.
    pub(crate) fn killed(&self) -> Option<KillCause> {
        self.lock().killed
    }

    /// The lease was renewed: the cell may live until then.
    pub(crate) fn renew(&self, lease_until: Instant) {
        let mut inner = self.lock();
        inner.lease_until = lease_until;
        if let Some(control) = &inner.control {
            control.renew(lease_until);
        }
    }

    /// Until when the cell may live.
    pub(crate) fn lease_until(&self) -> Instant {
        self.lock().lease_until
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every seat of this daemon.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: Mutex<HashMap<JobId, Arc<Seat>>>,
    /// Held from a claim's commit to its seat, so that a cancellation in between can wait for the seat.
    pub(crate) claiming: tokio::sync::Mutex<()>,
}

impl Seats {
    /// Takes a seat; it is given back when the guard is dropped.
    pub(crate) fn take(self: &Seats, attempt: AttemptRef, lease_until: Instant) -> Arc<Seat> {
        let seat = Arc::new(Seat::new(attempt, lease_until));
        self.lock().insert(attempt.job, Arc::clone(&seat));
        seat
    }

    /// Gives a seat back.
    pub(crate) fn leave(&self, seat: &Seat) {
        let mut taken = self.lock();
        // A later attempt of the same job may sit there already.
        if taken
            .get(&seat.attempt.job)
            .is_some_and(|sitting| sitting.attempt == seat.attempt)
        {
            taken.remove(&seat.attempt.job);
        }
    }

    /// The seat of a job, if it runs here.
    pub(crate) fn of(&self, job: JobId) -> Option<Arc<Seat>> {
        self.lock().get(&job).cloned()
    }

    /// Kills every running attempt.
    pub(crate) fn kill_all(&self, cause: KillCause) {
        let seats: Vec<Arc<Seat>> = self.lock().values().cloned().collect();
        for seat in seats {
            seat.kill(cause);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
