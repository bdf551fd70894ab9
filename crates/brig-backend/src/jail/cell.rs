//! An open cell: what is left of it, and its guarantee to be released.

use super::nanos;
use crate::keeper_link::{Keeper, LOST};
use brig_core::backend::{BackendError, CellControl};
use brig_core::exit::KillCause;
use brig_jail::boot_time::nanos_after;
use brig_jail::protocol::{CellNumber, Request};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Longer than any cell takes to go away; only a keeper that is stuck needs it.
const RELEASE_TIME: Duration = Duration::from_secs(30);

/// Kill and renew, from any task.
#[derive(Debug)]
pub(super) struct Control {
    keeper: Keeper,
    number: CellNumber,
}

impl Control {
    pub(super) fn new(keeper: Keeper, number: CellNumber) -> Arc<Control> {
        Arc::new(Control { keeper, number })
    }

    /// The program starts.
    pub(super) fn start(&self, wall: Duration, cpu: Duration, lease_until: Instant) {
        self.keeper.post(Request::Start {
            cell: self.number,
            wall_nanos: nanos(wall),
            cpu_nanos: nanos(cpu),
            lease_until_nanos: boot_nanos(lease_until),
        });
    }
}

/// The same moment on the clock that the keeper and PID 1 look at.
fn boot_nanos(moment: Instant) -> u64 {
    nanos_after(moment.saturating_duration_since(Instant::now()))
}

impl CellControl for Control {
    fn kill(&self, cause: KillCause) {
        self.keeper.kill(self.number, super::facts::reason(cause));
    }

    fn renew(&self, lease_until: Instant) {
        self.keeper.post(Request::Renew {
            cell: self.number,
            lease_until_nanos: boot_nanos(lease_until),
        });
    }
}

/// The cell's life. Dropped without [`Lifetime::release`], it is released all the same.
#[derive(Debug)]
pub(super) struct Lifetime {
    keeper: Keeper,
    number: CellNumber,
    released: Option<oneshot::Receiver<()>>,
}

impl Lifetime {
    pub(super) fn new(keeper: Keeper, number: CellNumber, released: oneshot::Receiver<()>) -> Lifetime {
        Lifetime {
            keeper,
            number,
            released: Some(released),
        }
    }

    pub(super) fn number(&self) -> CellNumber {
        self.number
    }

    /// Kills what runs and waits until nothing is left.
    pub(super) async fn release(mut self) -> Result<(), BackendError> {
        let Some(released) = self.released.take() else {
            return Ok(());
        };
        self.keeper.post(Request::Release { cell: self.number });
        match timeout(RELEASE_TIME, released).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_sender_is_gone)) => Err(BackendError::Lost(LOST)),
            Err(_late) => Err(BackendError::Protocol(
                "the keeper did not release a cell in time",
            )),
        }
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        if self.released.is_some() {
            self.keeper.post(Request::Release { cell: self.number });
        }
    }
}
