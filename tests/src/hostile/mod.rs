//! The corpus: one row per check. The program of a check is in `tests/programs`; here is what must come of it.

mod beyond;
mod calls;
mod disk;
mod environment;
mod files;
mod kill;
pub mod layers;
mod machine;
mod memory;
mod network;
mod output;
mod privileges;
mod process;
mod runner;
mod tenants;
mod time;

use crate::cell::Bench;
use crate::modes::Need;
use anyhow::Result;

/// One check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// As in the list of checks: `P-01`.
    pub id: &'static str,
    /// What is shown, as a sentence.
    pub title: &'static str,
    /// What it needs of a mode.
    pub needs: &'static [Need],
    /// The check.
    pub body: fn(&Bench) -> Result<()>,
    /// What proves that the check can fail.
    pub arm: Arm,
}

/// The counterpart of a check: the same program with the wall gone.
#[derive(Debug, Clone, Copy)]
pub enum Arm {
    /// Runs and must see the effect.
    Shows(fn(&Bench) -> Result<()>),
    /// The check itself holds its counterpart: another limit, another input, or the record of the refused call.
    Within,
    /// Nothing is refused here, so there is nothing to turn off.
    NoRefusal,
}

/// All checks.
#[must_use]
pub fn checks() -> Vec<Check> {
    [
        process::CHECKS,
        memory::CHECKS,
        time::CHECKS,
        disk::CHECKS,
        output::CHECKS,
        files::CHECKS,
        network::CHECKS,
        calls::CHECKS,
        privileges::CHECKS,
        environment::CHECKS,
        tenants::CHECKS,
        kill::CHECKS,
        runner::CHECKS,
        &beyond::checks(),
        machine::CHECKS,
    ]
    .concat()
}
