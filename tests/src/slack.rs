//! How much longer things may take on a machine that is slow by nature.
//!
//! Under software emulation everything takes about ten times as long. `BRIG_TESTS_SLACK=10` allows for that in this
//! one place: it stretches how long the harness waits and how *late* something may be. Nothing else is stretched: what
//! a program may reach, and how early a limit may strike, are the same on every machine.

use anyhow::Result;
use std::sync::OnceLock;
use std::time::Duration;

/// The factor; 1 where nothing is said.
#[must_use]
pub fn factor() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    *FACTOR.get_or_init(|| {
        std::env::var("BRIG_TESTS_SLACK")
            .ok()
            .and_then(|value| value.parse().ok())
            .filter(|factor| (1..=100).contains(factor))
            .unwrap_or(1)
    })
}

/// So long on this machine.
#[must_use]
pub fn stretched(limit: Duration) -> Duration {
    limit * factor()
}

/// A limit that a program is meant to meet, with room on this machine to start and say so before: half of the factor, for
/// all of it would make every such check wait for a minute.
#[must_use]
pub fn roomy(limit: Duration) -> Duration {
    limit * (factor() / 2).max(1)
}

/// So many milliseconds on this machine.
#[must_use]
pub fn stretched_ms(limit: f64) -> f64 {
    limit * f64::from(factor())
}

/// Whether others use the CPUs so much that nobody gets a whole one.
///
/// # Errors
/// When the host does not tell.
pub fn is_busy() -> Result<bool> {
    let cores = std::thread::available_parallelism()?.get();
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load: f64 = load.split(' ').next().unwrap_or_default().parse()?;
    Ok(load > 1.5 * f64::from(u32::try_from(cores)?))
}
