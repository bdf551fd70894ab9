//! Execute: submit and follow to the end, and what happens when the caller goes away before.

use super::cancel::CancelOnDrop;
use super::submit::Submission;
use super::watch::{Seen, Watch};
use super::{Engine, EngineError};
use brig_core::store::Submitted;
use brig_core::{EventBody, JobId, TenantId};
use std::sync::Arc;
use std::time::Duration;

/// How long a stream may go on after it was told to end, event by event.
const LAST_CHANCE: Duration = Duration::from_millis(300);

/// What becomes of a job whose caller goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attachment {
    /// It is cancelled.
    Attached,
    /// It goes on.
    Detached,
}

/// The events of one job for one caller.
#[derive(Debug)]
pub(crate) struct Following {
    watch: Watch,
    guard: Option<CancelOnDrop>,
}

impl Engine {
    /// Accepts a job and follows it from its first event.
    pub(crate) async fn execute(
        self: &Arc<Self>,
        submission: Submission,
        attachment: Attachment,
    ) -> Result<Following, EngineError> {
        let engine = Arc::clone(self);
        // In a task of its own: a caller that goes away in the middle must not leave a job that nobody cancels. When
        // nobody waits for the answer it is dropped, and the guard in it with it.
        let accepted = self.tasks.spawn(async move {
            let (tenant, id) = (submission.caller.tenant.clone(), submission.id);
            // Before the submit, so that no event needs to be read back.
            let watch = Watch::of_new(&engine, tenant.clone(), id);
            match engine.submit(submission).await? {
                Submitted::New(_) => {
                    let attached = attachment == Attachment::Attached;
                    let guard = attached.then(|| CancelOnDrop::new(Arc::clone(&engine), tenant, id));
                    Ok(Following { watch, guard })
                }
                // The first caller decides what its going away means.
                Submitted::Existing(first) => engine.follow(tenant, first, 1).await,
            }
        });
        accepted
            .await
            .map_err(|_panicked| EngineError::Lost("accepting the job"))?
    }

    /// Follows a job from one of its events on.
    pub(crate) async fn follow(
        self: &Arc<Self>,
        tenant: TenantId,
        job: JobId,
        from: u64,
    ) -> Result<Following, EngineError> {
        Ok(Following {
            watch: Watch::of_existing(self, tenant, job, from).await?,
            guard: None,
        })
    }
}

impl Following {
    /// The next event; `None` after the last one. A daemon that stops ends it with [`EngineError::Draining`].
    pub(crate) async fn next(&mut self) -> Result<Option<Seen>, EngineError> {
        let end = self.watch.streams_end();
        let seen = tokio::select! {
            biased;
            seen = self.watch.next() => seen?,
            () = end.cancelled() => {
                // What was told before the end is still delivered, also when it has to be read.
                let last = tokio::time::timeout(LAST_CHANCE, self.watch.next()).await;
                last.map_err(|_nothing| EngineError::Draining)??
            }
        };
        let over = seen
            .as_ref()
            .is_none_or(|seen| matches!(seen.record.body, EventBody::Ended { .. }));
        if let (true, Some(guard)) = (over, &mut self.guard) {
            guard.disarm();
        }
        Ok(seen)
    }
}
