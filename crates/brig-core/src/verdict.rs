//! From facts to a verdict: one pure function for every backend.

use crate::exit::{ExitFacts, KillCause, MainExit};
use crate::limits::Limits;
use crate::outcome::{Flags, TimeLimit, Verdict};

const SIGKILL: u8 = 9;
const SIGXFSZ: u8 = 25;
const SIGSYS: u8 = 31;

/// What the facts amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The program ran: its verdict and what else happened.
    Ran {
        /// What it did.
        verdict: Verdict,
        /// What happened beside it.
        flags: Flags,
    },
    /// Brig ended it for a reason of its own: no verdict on the program.
    Abandoned,
}

/// Judges `facts` of a program that ran under `limits`.
///
/// The order where several apply: cancelled, timed out, the output or disk limit that ended it, out of memory
/// if the main process died of it, refused call, signalled, exited. The rest are flags. A program that ended by
/// itself before our kill reached it is judged by its own end.
#[must_use]
pub fn judge(facts: &ExitFacts, limits: &Limits) -> Judgement {
    let main_died_of_memory = facts.main == MainExit::Signalled(SIGKILL) && facts.oom_kills > 0;
    let killed = match (facts.killed, facts.main) {
        // Our SIGKILL came too late: the main process had already ended by itself.
        (Some(_), MainExit::Exited(_)) => None,
        (Some(_), MainExit::Signalled(signal)) if signal != SIGKILL => None,
        (killed, _) => killed,
    };
    let verdict = match (killed, facts.main) {
        (Some(KillCause::Cancelled), _) => Verdict::Cancelled,
        (Some(KillCause::WallTime), _) => Verdict::TimedOut {
            limit: TimeLimit::Wall,
        },
        (Some(KillCause::CpuTime), _) => Verdict::TimedOut {
            limit: TimeLimit::Cpu,
        },
        (Some(KillCause::OutputLimit), _) => Verdict::OutputLimit,
        (Some(KillCause::Abandoned), _) | (None, MainExit::Unknown) => return Judgement::Abandoned,
        (None, MainExit::Signalled(_)) if facts.signalled_at_cpu_limit(limits) => Verdict::TimedOut {
            limit: TimeLimit::Cpu,
        },
        (None, MainExit::Signalled(SIGXFSZ)) => Verdict::DiskLimit,
        (None, MainExit::Signalled(_)) if main_died_of_memory => Verdict::OutOfMemory,
        (None, MainExit::Signalled(SIGSYS)) => Verdict::RefusedCall {
            name: killing_call(facts),
        },
        (None, MainExit::Signalled(signal)) => Verdict::Signalled { signal },
        (None, MainExit::Exited(code)) => Verdict::Exited { code },
    };
    let main_counted = u32::from(main_died_of_memory);
    let flags = Flags {
        process_limit_hit: facts.forks_refused > 0,
        children_out_of_memory: facts.oom_kills.saturating_sub(main_counted),
        leftover_processes_killed: facts.leftovers_killed,
        refused_calls_truncated: facts.refused_truncated,
    };
    Judgement::Ran { verdict, flags }
}

/// A filter that kills does not say which call it was; only calls of a foreign ABI kill.
fn killing_call(facts: &ExitFacts) -> String {
    facts
        .refused_calls
        .last()
        .map_or_else(|| "foreign_abi".to_owned(), |call| call.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::SIGXCPU;
    use crate::limits::LimitsPolicy;
    use std::time::Duration;

    fn judged(facts: &ExitFacts) -> Judgement {
        judge(facts, &LimitsPolicy::default().default)
    }

    fn verdict(facts: &ExitFacts) -> Verdict {
        match judged(facts) {
            Judgement::Ran { verdict, .. } => verdict,
            Judgement::Abandoned => panic!("abandoned"),
        }
    }

    fn signalled(signal: u8) -> ExitFacts {
        ExitFacts {
            main: MainExit::Signalled(signal),
            ..ExitFacts::exited(0)
        }
    }

    #[test]
    fn an_exit_code_is_kept() {
        assert_eq!(verdict(&ExitFacts::exited(3)), Verdict::Exited { code: 3 });
    }

    #[test]
    fn a_kill_of_ours_is_told_from_a_signal_of_its_own() {
        assert_eq!(verdict(&signalled(9)), Verdict::Signalled { signal: 9 });
        let facts = ExitFacts {
            killed: Some(KillCause::WallTime),
            ..signalled(9)
        };
        assert_eq!(
            verdict(&facts),
            Verdict::TimedOut {
                limit: TimeLimit::Wall
            }
        );
    }

    #[test]
    fn out_of_memory_needs_the_kernel_to_have_said_so() {
        assert_eq!(
            verdict(&ExitFacts {
                oom_kills: 1,
                ..signalled(9)
            }),
            Verdict::OutOfMemory
        );
        assert_eq!(
            verdict(&ExitFacts {
                oom_kills: 1,
                ..signalled(11)
            }),
            Verdict::Signalled { signal: 11 }
        );
    }

    #[test]
    fn a_child_killed_for_memory_is_a_flag() {
        let facts = ExitFacts {
            oom_kills: 2,
            ..ExitFacts::exited(0)
        };
        let Judgement::Ran { verdict, flags } = judged(&facts) else {
            panic!()
        };
        assert_eq!(verdict, Verdict::Exited { code: 0 });
        assert_eq!(flags.children_out_of_memory, 2);
    }

    #[test]
    fn cancelled_wins_over_memory() {
        let facts = ExitFacts {
            killed: Some(KillCause::Cancelled),
            oom_kills: 1,
            ..signalled(9)
        };
        assert_eq!(verdict(&facts), Verdict::Cancelled);
    }

    #[test]
    fn a_program_that_ended_before_our_kill_keeps_its_own_end() {
        let facts = ExitFacts {
            killed: Some(KillCause::WallTime),
            ..ExitFacts::exited(0)
        };
        assert_eq!(verdict(&facts), Verdict::Exited { code: 0 });
    }

    #[test]
    fn a_lost_lease_is_no_verdict() {
        let facts = ExitFacts {
            killed: Some(KillCause::Abandoned),
            ..signalled(9)
        };
        assert_eq!(judged(&facts), Judgement::Abandoned);
        let unknown = ExitFacts {
            main: MainExit::Unknown,
            ..ExitFacts::exited(0)
        };
        assert_eq!(judged(&unknown), Judgement::Abandoned);
    }

    #[test]
    fn the_file_size_signal_is_the_disk_limit() {
        assert_eq!(verdict(&signalled(25)), Verdict::DiskLimit);
    }

    #[test]
    fn the_signal_of_the_cpu_limit_is_the_cpu_limit_only_when_it_was_reached() {
        let limit = LimitsPolicy::default().default.cpu_time;
        let reached = ExitFacts {
            cpu: limit,
            ..signalled(SIGXCPU)
        };
        assert_eq!(
            verdict(&reached),
            Verdict::TimedOut {
                limit: TimeLimit::Cpu
            }
        );
        let pretended = ExitFacts {
            cpu: limit - Duration::from_millis(1),
            ..signalled(SIGXCPU)
        };
        assert_eq!(verdict(&pretended), Verdict::Signalled { signal: SIGXCPU });
    }
}
