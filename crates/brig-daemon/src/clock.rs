//! The daemon's clock: true times of day that never jump.
//!
//! Queue time-outs, leases and retention are times of the day in the store. Were they compared with the system's clock, a
//! step of it (an administrator, a time server after the start, a machine that comes back from a snapshot) would end every
//! waiting and running job at once, or none for a day. So the time of day is read once, when the daemon starts, and
//! counted on by the boot-time clock, which goes on while the machine sleeps and follows only the slow corrections of a
//! time server. After a step the times in records are off by it until the daemon is started again; the log says so.

use brig_core::Timestamp;
use nix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::Duration;

/// A difference from the system's clock that is a step and no rounding.
const STEP_MILLIS: i64 = 1_000;

/// Time of day less time since boot, when the daemon started; milliseconds.
static START: OnceLock<i64> = OnceLock::new();

/// Now, by the daemon's clock.
pub(crate) fn now() -> Timestamp {
    let start = *START.get_or_init(|| Timestamp::now().as_millis().saturating_sub(since_boot()));
    Timestamp::from_millis(start.saturating_add(since_boot()))
}

/// How far the system's clock has been moved ahead (or, negative, back) since the daemon started.
pub(crate) fn step_of_the_system() -> Option<i64> {
    let step = Timestamp::now().as_millis().saturating_sub(now().as_millis());
    (step.abs() >= STEP_MILLIS).then_some(step)
}

fn since_boot() -> i64 {
    // The clock cannot fail on any kernel that runs cells; if it did, time would stand still and nothing would expire.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_system_when_nobody_steps_that() {
        let difference = Timestamp::now().as_millis() - now().as_millis();
        assert!(difference.abs() <= 20, "{difference} ms");
        assert_eq!(step_of_the_system(), None);
    }

    #[test]
    fn it_never_goes_back() {
        let first = now();
        assert!(now() >= first);
    }
}
