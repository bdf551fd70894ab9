//! Moments that two processes of one machine mean alike: nanoseconds on CLOCK_BOOTTIME. Nobody can set it, and it goes
//! on while the machine sleeps, like the lease that other machines see.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds since the machine started.
pub fn now_nanos() -> u64 {
    // The clock has existed since Linux 2.6.39; a failure would make every deadline due, the safe side.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(u64::MAX, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    })
}

/// The moment that is so far away. Never 0, which stands for "no deadline".
pub fn nanos_after(left: Duration) -> u64 {
    let left = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
    now_nanos().saturating_add(left).max(1)
}
