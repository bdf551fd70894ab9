//! The keeper's facts in the words of the core.

use brig_core::exit::{ExitFacts, KillCause, MainExit, RefusedCall};
use brig_jail::protocol::{self, CellFacts, KillReason};
use brig_jail::stage::SetupFailure;
use std::time::Duration;

/// The facts, or the step that kept the program from starting.
pub(super) fn exit_facts(facts: &CellFacts) -> Result<ExitFacts, SetupFailure> {
    let main = match facts.main {
        protocol::MainExit::Exited(code) => MainExit::Exited(code),
        protocol::MainExit::Signalled(signal) => MainExit::Signalled(signal),
        protocol::MainExit::Unknown => MainExit::Unknown,
        protocol::MainExit::Setup(failure) => return Err(failure),
    };
    let named = facts.refused.iter().take(usize::from(facts.refused_len));
    Ok(ExitFacts {
        main,
        killed: facts.killed.map(cause),
        wall: Duration::from_nanos(facts.wall_nanos),
        cpu: Duration::from_nanos(facts.cpu_nanos),
        memory_peak: (facts.memory_peak_bytes > 0).then_some(facts.memory_peak_bytes),
        processes_peak: (facts.processes_peak > 0).then_some(facts.processes_peak),
        oom_kills: facts.oom_kills,
        forks_refused: facts.forks_refused,
        leftovers_killed: facts.leftovers_killed,
        refused_calls: named
            .map(|call| RefusedCall {
                name: call_name(call.number),
                count: call.count,
            })
            .collect(),
        refused_truncated: facts.refused_truncated,
    })
}

fn call_name(number: u32) -> String {
    brig_jail::policy::call_name(number).map_or_else(|| format!("syscall_{number}"), str::to_owned)
}

/// Why it was killed, in the words of the core.
pub(crate) fn cause(reason: KillReason) -> KillCause {
    match reason {
        KillReason::Cancelled => KillCause::Cancelled,
        KillReason::OutputLimit => KillCause::OutputLimit,
        KillReason::WallTime => KillCause::WallTime,
        KillReason::CpuTime => KillCause::CpuTime,
        KillReason::Lease | KillReason::Abandoned => KillCause::Abandoned,
    }
}

/// Why we kill, in the keeper's words.
pub(crate) fn reason(cause: KillCause) -> KillReason {
    match cause {
        KillCause::Cancelled => KillReason::Cancelled,
        KillCause::OutputLimit => KillReason::OutputLimit,
        KillCause::WallTime => KillReason::WallTime,
        KillCause::CpuTime => KillReason::CpuTime,
        KillCause::Abandoned => KillReason::Abandoned,
    }
}
