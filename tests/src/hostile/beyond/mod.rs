//! Beyond the list: what else a program may try. Their ids begin with B.

mod ends;
mod files;
mod kernel;
mod memory;
mod others;

use super::Check;

pub(super) fn checks() -> Vec<Check> {
    [
        ends::CHECKS,
        files::CHECKS,
        kernel::CHECKS,
        memory::CHECKS,
        others::CHECKS,
    ]
    .concat()
}
