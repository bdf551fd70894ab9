//! What the container's first process says of the end of a job, and what the kernel counted, in the words of the core.
//!
//! Limits and counters come from the broker, which reads them from outside. What comes from inside (how the main process
//! ended, that a deadline killed it) is about this job alone, and is checked against our own clock.

use super::protocol::{ContainerFacts, ContainerReceipt, WhyGone};
use brig_core::backend::BackendError;
use brig_core::exit::{ExitFacts, KillCause, MainExit};
use brig_core::limits::Limits;
use brig_jail::container::wire::{Ended, Killed, Main};
use std::time::Duration;

const SIGKILL: u8 = 9;

/// How much a clock inside may be ahead of ours (gVisor has its own).
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// What a container's counters hold beside the program: its first process, and what the runtime itself needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Overhead {
    processes: u32,
}

impl Overhead {
    pub(super) fn of(receipt: &ContainerReceipt) -> Overhead {
        Overhead {
            processes: receipt.cgroup.processes_overhead,
        }
    }

    /// The counters without it. What is unknown stays unknown.
    pub(super) fn without(&self, facts: ContainerFacts) -> ContainerFacts {
        ContainerFacts {
            processes_peak: match facts.processes_peak {
                0 => 0,
                peak => peak.saturating_sub(self.processes).max(1),
            },
            ..facts
        }
    }
}

/// The job ended, as the container says; `took`, by our own clock.
pub(super) fn of_end(
    ended: &Ended,
    counted: &ContainerFacts,
    took: Option<Duration>,
    limits: &Limits,
) -> Result<ExitFacts, BackendError> {
    let took = took.unwrap_or_default();
    let killed = match ended.killed {
        Killed::No => None,
        Killed::Wall if took + CLOCK_SLACK < limits.wall => {
            return Err(BackendError::Protocol(
                "a container claims a time limit that was not reached",
            ));
        }
        Killed::Wall => Some(KillCause::WallTime),
        Killed::Lease => Some(KillCause::Abandoned),
    };
    let main = match ended.main {
        Main::Exited(code) => MainExit::Exited(code),
        Main::Signalled(signal) => MainExit::Signalled(signal),
        Main::Unknown => MainExit::Unknown,
    };
    let facts = base(counted, took);
    Ok(ExitFacts {
        main,
        killed,
        wall: Duration::from_nanos(ended.wall_nanos).min(took),
        cpu: if counted.cpu_nanos == 0 {
            Duration::from_nanos(ended.cpu_nanos)
        } else {
            facts.cpu
        },
        leftovers_killed: ended.leftovers_killed,
        ..facts
    })
}

/// The container is gone and nobody said how the job ended. `None`: nothing can be said of the program.
pub(super) fn of_gone(
    why: &WhyGone,
    counted: &ContainerFacts,
    took: Option<Duration>,
    cause: Option<KillCause>,
) -> Option<ExitFacts> {
    let facts = base(counted, took.unwrap_or_default());
    match why {
        WhyGone::Killed { reason } => Some(ExitFacts {
            killed: Some(crate::jail::cause(*reason)),
            ..facts
        }),
        // The first process is the last that the kernel chooses, and dies with everything else of the container.
        WhyGone::OutOfMemory if took.is_some() => Some(ExitFacts {
            main: MainExit::Signalled(SIGKILL),
            oom_kills: counted.oom_kills.max(1),
            ..facts
        }),
        WhyGone::OutOfMemory | WhyGone::ByHand | WhyGone::EngineLost => cause.map(|_ours| facts),
    }
}

fn base(counted: &ContainerFacts, took: Duration) -> ExitFacts {
    ExitFacts {
        main: MainExit::Unknown,
        killed: None,
        wall: took,
        cpu: Duration::from_nanos(counted.cpu_nanos),
        memory_peak: (counted.memory_peak_bytes > 0).then_some(counted.memory_peak_bytes),
        processes_peak: (counted.processes_peak > 0).then_some(counted.processes_peak),
        oom_kills: counted.oom_kills,
        forks_refused: counted.forks_refused,
        leftovers_killed: 0,
        refused_calls: Vec::new(),
        refused_truncated: false,
    }
}

/// Why a container went away, for people.
pub(super) fn reason(why: &WhyGone) -> &'static str {
    match why {
        WhyGone::Killed { .. } => "the container was killed",
        WhyGone::OutOfMemory => "the container's first process ran out of memory",
        WhyGone::ByHand => "the container was stopped or removed from outside",
        WhyGone::EngineLost => "the container engine stopped, or lost the container",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brig_core::limits::LimitsPolicy;
    use brig_core::outcome::{TimeLimit, Verdict};
    use brig_core::verdict::{Judgement, judge};
    use brig_jail::protocol::KillReason;

    const ENDED: Ended = Ended {
        main: Main::Signalled(9),
        killed: Killed::No,
        wall_nanos: 5,
        cpu_nanos: 7,
        leftovers_killed: 2,
    };

    fn limits() -> Limits {
        LimitsPolicy::default().default
    }

    fn verdict(facts: &ExitFacts) -> Option<Verdict> {
        match judge(facts, &limits()) {
            Judgement::Ran { verdict, .. } => Some(verdict),
            Judgement::Abandoned => None,
        }
    }

    fn counted(oom_kills: u32) -> ContainerFacts {
        ContainerFacts {
            oom_kills,
            ..ContainerFacts::default()
        }
    }

    #[test]
    fn memory_killed_the_program_only_where_the_kernel_counted_it_and_the_main_process_died_of_a_kill() {
        let took = Some(Duration::from_secs(1));
        let end = |main, kills| {
            let ended = Ended { main, ..ENDED };
            verdict(&of_end(&ended, &counted(kills), took, &limits()).unwrap())
        };
        assert_eq!(end(Main::Signalled(9), 1), Some(Verdict::OutOfMemory));
        assert_eq!(end(Main::Signalled(9), 0), Some(Verdict::Signalled { signal: 9 }));
        assert_eq!(end(Main::Exited(0), 1), Some(Verdict::Exited { code: 0 }));
    }

    #[test]
    fn a_time_limit_that_only_the_container_saw_is_not_believed() {
        let ended = Ended {
            killed: Killed::Wall,
            ..ENDED
        };
        let early = of_end(&ended, &counted(0), Some(Duration::from_secs(1)), &limits());
        assert!(matches!(early, Err(BackendError::Protocol(_))));
        let late = of_end(&ended, &counted(0), Some(limits().wall), &limits()).unwrap();
        let wall = TimeLimit::Wall;
        assert_eq!(verdict(&late), Some(Verdict::TimedOut { limit: wall }));
    }

    #[test]
    fn a_container_that_went_away_by_itself_is_no_verdict_and_one_that_we_killed_is() {
        let took = Some(Duration::from_secs(1));
        for why in [WhyGone::ByHand, WhyGone::EngineLost] {
            assert_eq!(of_gone(&why, &counted(1), took, None), None);
            assert!(of_gone(&why, &counted(1), took, Some(KillCause::Cancelled)).is_some());
        }
        let killed = |reason| of_gone(&WhyGone::Killed { reason }, &counted(0), took, None).unwrap();
        let wall = TimeLimit::Wall;
        assert_eq!(
            verdict(&killed(KillReason::WallTime)),
            Some(Verdict::TimedOut { limit: wall })
        );
        assert_eq!(verdict(&killed(KillReason::Lease)), None);
        let memory = of_gone(&WhyGone::OutOfMemory, &counted(0), took, None).unwrap();
        assert_eq!(verdict(&memory), Some(Verdict::OutOfMemory));
        assert_eq!(of_gone(&WhyGone::OutOfMemory, &counted(0), None, None), None);
    }

    #[test]
    fn what_the_container_says_of_time_is_at_most_ours_and_counters_from_outside_win() {
        let long = Ended {
            wall_nanos: u64::MAX,
            ..ENDED
        };
        let outside = ContainerFacts {
            cpu_nanos: 11,
            processes_peak: 3,
            ..counted(0)
        };
        let outside = Overhead { processes: 1 }.without(outside);
        let facts = of_end(&long, &outside, Some(Duration::from_secs(1)), &limits()).unwrap();
        assert_eq!(
            (facts.wall, facts.cpu),
            (Duration::from_secs(1), Duration::from_nanos(11))
        );
        assert_eq!((facts.processes_peak, facts.leftovers_killed), (Some(2), 2));
    }
}
