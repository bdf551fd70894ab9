//! What a cell's end looked like: only from the kernel and from PID 1, never from the program.

use super::cell::{Cell, Phase};
use super::clock::Moment;
use crate::cgroup::{CellGroups, Counters};
use crate::control::FromInit;
use crate::protocol::{CellFacts, MainExit};

/// The facts of a cell whose PID 1 is reaped.
pub(super) fn gather(cell: &Cell) -> CellFacts {
    let counters = cell.groups.as_ref().map(CellGroups::count).unwrap_or_default();
    let (wall_nanos, cpu_before) = match &cell.phase {
        Phase::Running(run) => (Moment::now().since(run.started), run.cpu_before),
        Phase::Building(_) | Phase::Idle | Phase::Dead => (0, 0),
    };
    let (refused, refused_len) = cell.refusals.calls();
    CellFacts {
        main: main_exit(cell.ended),
        killed: cell.kill_reason(),
        wall_nanos,
        cpu_nanos: cpu_nanos(cell, &counters, cpu_before),
        cpu_throttled_nanos: counters.throttled_nanos.unwrap_or(0),
        memory_peak_bytes: counters.memory_peak.unwrap_or_else(|| largest_process(cell)),
        processes_peak: small(counters.processes_peak),
        oom_kills: small(counters.oom_kills),
        forks_refused: small(counters.forks_refused),
        leftovers_killed: leftovers(cell.ended),
        refused,
        refused_len,
        refused_truncated: cell.refusals.truncated(),
    }
}

fn main_exit(ended: Option<FromInit>) -> MainExit {
    let Some(FromInit::Ended { wait_status, .. }) = ended else {
        return MainExit::Unknown;
    };
    if libc::WIFEXITED(wait_status) {
        u8::try_from(libc::WEXITSTATUS(wait_status)).map_or(MainExit::Unknown, MainExit::Exited)
    } else if libc::WIFSIGNALED(wait_status) {
        u8::try_from(libc::WTERMSIG(wait_status)).map_or(MainExit::Unknown, MainExit::Signalled)
    } else {
        MainExit::Unknown
    }
}

fn leftovers(ended: Option<FromInit>) -> u32 {
    match ended {
        Some(FromInit::Ended { leftovers, .. }) => leftovers,
        Some(_) | None => 0,
    }
}

/// The group's counter, else what the kernel added up when PID 1 (and with it all that it reaped) was reaped.
fn cpu_nanos(cell: &Cell, counters: &Counters, before: u64) -> u64 {
    match (counters.cpu_nanos, cell.ended) {
        (Some(total), _) => total.saturating_sub(before),
        (None, Some(FromInit::Ended { cpu_nanos, .. })) => cpu_nanos,
        (None, _) => cell.reaped.map_or(0, |reaped| reaped.cpu_nanos),
    }
}

/// Without a group nobody adds memory up; the largest process is a lower bound and better than nothing.
fn largest_process(cell: &Cell) -> u64 {
    match cell.ended {
        Some(FromInit::Ended { max_rss_bytes, .. }) => max_rss_bytes,
        Some(_) | None => cell.reaped.map_or(0, |reaped| reaped.max_rss_bytes),
    }
}

fn small(counter: Option<u64>) -> u32 {
    u32::try_from(counter.unwrap_or(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::KilledBy;

    fn ended(wait_status: i32) -> Option<FromInit> {
        let killed_by = KilledBy::Nobody;
        Some(FromInit::Ended {
            wait_status,
            cpu_nanos: 0,
            max_rss_bytes: 0,
            leftovers: 3,
            killed_by,
        })
    }

    #[test]
    fn a_wait_status_is_an_exit_code_or_a_signal() {
        assert_eq!(main_exit(ended(7 << 8)), MainExit::Exited(7));
        assert_eq!(main_exit(ended(9)), MainExit::Signalled(9));
        assert_eq!(main_exit(ended(11 | 0x80)), MainExit::Signalled(11));
        assert_eq!(main_exit(None), MainExit::Unknown);
    }

    #[test]
    fn leftovers_are_told() {
        assert_eq!(leftovers(ended(0)), 3);
    }
}
