//! Deadlines count on the boot-time clock.

use crate::boot_time;
use std::time::Duration;

/// A moment, nanoseconds since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn now() -> Moment {
        Moment(boot_time::now_nanos())
    }

    /// A moment that somebody named.
    pub(super) fn named(nanos: u64) -> Moment {
        Moment(nanos)
    }

    pub(super) fn nanos(self) -> u64 {
        self.0
    }

    pub(super) fn plus(self, nanos: u64) -> Moment {
        Moment(self.0.saturating_add(nanos))
    }

    pub(super) fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// For a timer: at least one nanosecond, because zero disarms it.
    pub(super) fn until(self, later: Moment) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0).max(1))
    }
}
