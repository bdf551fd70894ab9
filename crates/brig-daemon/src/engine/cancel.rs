//! Cancellation: first in the store, then in the cell.

use super::{Engine, EngineError};
use crate::clock;
use brig_core::{JobId, JobState, KillCause, TenantId};
use std::sync::Arc;
use tracing::{info, warn};

impl Engine {
    /// Asks for a job to be stopped; gives its state afterwards. Asking again changes nothing.
    pub(crate) async fn cancel(&self, tenant: &TenantId, job: JobId) -> Result<JobState, EngineError> {
        let now = clock::now();
        let (state, events) = self.store.cancel(tenant, job, now).await?;
        let changed = !events.is_empty();
        self.publish(events, None);
        if changed {
            info!(%job, state = state.word(), "cancellation asked for");
        }
        if matches!(state, JobState::Cancelling(_)) {
            self.kill_cancelled(job).await;
        }
        Ok(state)
    }

    async fn kill_cancelled(&self, job: JobId) {
        let mut seat = self.seats.of(job);
        if seat.is_none() {
            // Claimed, but not seated yet: whoever holds this lock seats it before letting go.
            let claimed = self.seats.claiming.lock().await;
            seat = self.seats.of(job);
            drop(claimed);
        }
        if let Some(seat) = seat {
            seat.kill(KillCause::Cancelled);
        }
    }
}

/// Cancels a job when dropped: the caller of `Execute` went away before the end.
#[derive(Debug)]
pub(crate) struct CancelOnDrop {
    engine: Arc<Engine>,
    tenant: TenantId,
    job: JobId,
    armed: bool,
}

impl CancelOnDrop {
    pub(crate) fn new(engine: Arc<Engine>, tenant: TenantId, job: JobId) -> Self {
        Self {
            engine,
            tenant,
            job,
            armed: true,
        }
    }

    /// The caller saw the end.
    pub(crate) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // A stream that ends because the daemon stops is not the caller's doing.
        if !self.armed || self.engine.streams_end.is_cancelled() {
            return;
        }
        // Outside the runtime there is nothing left that could cancel; the next start records the job as interrupted.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (engine, tenant, job) = (Arc::clone(&self.engine), self.tenant.clone(), self.job);
        let cancelling = async move {
            info!(%job, "the caller went away");
            if let Err(error) = engine.cancel(&tenant, job).await {
                warn!(%job, %error, "a job whose caller went away could not be cancelled");
            }
        };
        self.engine.tasks.spawn_on(cancelling, &runtime);
    }
}
