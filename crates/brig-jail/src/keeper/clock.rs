//! Deadlines count on the boot-time clock: nobody can set it, and it goes on while the machine sleeps, like the
//! lease that other machines see.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// A moment, nanoseconds since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn now() -> Moment {
        // The clock has existed since Linux 2.6.39; a failure would make every deadline due, the safe side.
        clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Moment(u64::MAX), |time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
            Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
        })
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
