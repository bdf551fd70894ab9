//! Sideways: what one job could do to the service and to the jobs beside it, without leaving its cell.

use super::{Arm, Check};
use anyhow::ensure;

pub(super) const CHECKS: &[Check] = &[Check {
    id: "L-20",
    title: "a program can hand no descriptor to the daemon, whose close would wait for as long as it chose",
    needs: &[],
    body: |bench| {
        let seen = bench.program("hand_over_descriptors.py").go()?;
        seen.exited(0)?;
        seen.refused_everything_but(&[])?;
        ensure!(
            seen.lines("REFUSED", "hand_over").len() >= 4,
            "stdio and the runner's pipe were not tried{}",
            seen.told()
        );
        Ok(())
    },
    arm: Arm::Shows(|bench| {
        let seen = bench.outside("hand_over_descriptors.py", &["demonstrate"])?;
        let waited = seen.reached("hand_over")?.number("received_in")?;
        ensure!(waited > 1.0, "the receiver did not wait{}", seen.told());
        Ok(())
    }),
}];
