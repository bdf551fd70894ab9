//! Seats: one per running attempt of this daemon, so that a cancellation or a shutdown reaches its cell.

use brig_core::backend::CellControl;
use brig_core::store::AttemptRef;
use brig_core::{JobId, KillCause};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One running attempt, from its claim to its end.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) attempt: AttemptRef,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    killed: Option<KillCause>,
    control: Option<Arc<dyn CellControl>>,
}

impl Seat {
    fn new(attempt: AttemptRef) -> Self {
        Self {
            attempt,
            inner: Mutex::default(),
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

    /// The lease was renewed: the cell's dead-man timer starts again.
    pub(crate) fn renew(&self, lease: Duration) {
        if let Some(control) = &self.lock().control {
            control.renew(lease);
        }
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
    pub(crate) fn take(self: &Seats, attempt: AttemptRef) -> Arc<Seat> {
        let seat = Arc::new(Seat::new(attempt));
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
