//! When to try again, and how long to wait before.

use crate::status::ApiError;
use brig_core::fault::Fault;
use std::time::Duration;
use uuid::Uuid;

/// How patiently to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// First pause; each one is twice as long as the one before.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// All pauses together, without success in between. Zero: never try again.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(2),
            patience: Duration::from_secs(15),
        }
    }
}

impl RetryPolicy {
    /// Never tries again.
    #[must_use]
    pub fn never() -> Self {
        Self {
            patience: Duration::ZERO,
            ..Self::default()
        }
    }
}

/// Whether a request that may have arrived can be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or is carried out once.
    Safe,
    /// It might be carried out twice.
    Unsafe,
}

/// The pauses of one call or stream.
#[derive(Debug)]
pub(super) struct Backoff {
    policy: RetryPolicy,
    repeat: Repeat,
    next: Duration,
    spent: Duration,
}

impl Backoff {
    pub(super) fn new(policy: RetryPolicy, repeat: Repeat) -> Self {
        Self {
            policy,
            repeat,
            next: policy.first,
            spent: Duration::ZERO,
        }
    }

    /// Something worked: patience begins anew. From now on trying again is as safe as `repeat` says.
    pub(super) fn reset(&mut self, repeat: Repeat) {
        *self = Self::new(self.policy, repeat);
    }

    /// Waits before the next try, or gives `error` back because trying again cannot help.
    pub(super) async fn pause(&mut self, error: ApiError) -> Result<(), ApiError> {
        let Some(pause) = self.plan(&error) else {
            return Err(error);
        };
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn plan(&mut self, error: &ApiError) -> Option<Duration> {
        let may_pass = match error.fault() {
            Fault::Busy | Fault::Transient => true,
            Fault::Caller | Fault::Host | Fault::Bug => false,
        };
        if self.repeat == Repeat::Unsafe || !may_pass {
            return None;
        }
        let pause = jittered(self.next).max(error.retry_after().unwrap_or_default());
        self.next = (self.next * 2).min(self.policy.longest);
        self.spent = self.spent.saturating_add(pause);
        (self.spent <= self.policy.patience).then_some(pause)
    }
}

/// Between a half and the whole of `pause`, so that clients who were refused together do not return together.
fn jittered(pause: Duration) -> Duration {
    // The last bytes of a v7 uuid are random; this needs no more randomness than that.
    let random = u32::from(Uuid::now_v7().as_bytes()[15]);
    pause / 2 + pause * random / 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ServiceError;
    use brig_core::limits::Bytes;
    use tonic::Status;

    fn error(error: ServiceError) -> ApiError {
        ApiError::from(Status::from(error))
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_only_where_that_is_safe() {
        let plan = |repeat, service| Backoff::new(RetryPolicy::default(), repeat).plan(&error(service));
        let full = || ServiceError::QueueFull { queued: 1, limit: 1 };
        assert!(plan(Repeat::Safe, full()).is_some_and(|pause| pause >= Duration::from_secs(1)));
        assert!(plan(Repeat::Safe, ServiceError::Draining).is_some());
        assert_eq!(plan(Repeat::Unsafe, full()), None);
        assert_eq!(plan(Repeat::Safe, ServiceError::NotFound { what: "job" }), None);
        assert_eq!(
            plan(
                Repeat::Safe,
                ServiceError::Internal {
                    correlation_id: String::new()
                }
            ),
            None
        );
        // Its hint is longer than anyone waits.
        assert_eq!(
            plan(Repeat::Safe, ServiceError::StorageFull { limit: Bytes(1) }),
            None
        );
    }

    #[test]
    fn pauses_grow_and_patience_ends() {
        let mut backoff = Backoff::new(RetryPolicy::default(), Repeat::Safe);
        let pauses: Vec<Duration> = std::iter::from_fn(|| backoff.plan(&ApiError::Broken)).collect();
        assert!(pauses.len() > 8 && pauses.iter().sum::<Duration>() <= RetryPolicy::default().patience);
        assert!(
            pauses
                .iter()
                .all(|pause| *pause <= RetryPolicy::default().longest)
        );
        assert_eq!(
            Backoff::new(RetryPolicy::never(), Repeat::Safe).plan(&ApiError::Broken),
            None
        );
    }
}
