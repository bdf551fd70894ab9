//! Trouble beside the program: the container removed, the engine stopped, the broker gone. Interruptions, never verdicts.

use crate::conformance::{Heard, command, limits, wanted};
use crate::hostile::Liar;
use crate::scripted_engine::Scripted;
use brig_backend::docker::protocol::{
    BackendName, ContainerFacts, HealthState, PoolCounts, Reply, Request, VERSION, WhyGone,
};
use brig_core::backend::{Backend, BackendError, Exit};
use brig_core::exit::{KillCause, MainExit};
use brig_core::outcome::Verdict;
use brig_core::verdict::{Judgement, judge};
use brig_jail::container::wire::{Down, Killed, Main};
use brig_jail::protocol::KillReason;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A container whose program runs until it is told to end.
fn obedient() -> Scripted {
    Scripted::played(|stream| {
        let mut liar = Liar::new(stream);
        liar.greet();
        liar.until_start();
        while let Some(frame) = liar.hear() {
            if matches!(frame, Down::Renew { lease_nanos: 1 }) {
                liar.end(Main::Signalled(9), Killed::Lease);
            }
        }
    })
}

/// Runs a program while `meanwhile` happens, which gets the cell's number.
async fn while_running(
    engine: &Scripted,
    meanwhile: impl FnOnce(&Scripted, u64),
) -> Result<Exit, BackendError> {
    engine.script.forget();
    let mut cell = engine
        .backend
        .open(&wanted(engine, limits(|_| {})))
        .await
        .unwrap();
    let running = cell.exec(command(&["/bin/sleep", "60"]), Arc::new(Heard::default()));
    let script = Arc::clone(&engine.script);
    let trouble = async {
        let started = move || script.until(|request| matches!(request, Request::Start { .. }));
        let Request::Start { cell, .. } = tokio::task::spawn_blocking(started).await.unwrap() else {
            unreachable!()
        };
        meanwhile(engine, cell);
    };
    let (exit, ()) = tokio::join!(running, trouble);
    cell.destroy().await.unwrap();
    exit
}

#[tokio::test]
async fn a_container_that_goes_away_unasked_interrupts_its_job_and_says_why() {
    let engine = obedient();
    let facts = ContainerFacts::default();
    for (why, word) in [
        (WhyGone::ByHand, "from outside"),
        (WhyGone::EngineLost, "engine stopped"),
    ] {
        let exit = while_running(&engine, |engine, cell| {
            engine.script.say(&Reply::Gone { cell, why, facts });
        })
        .await;
        let Err(BackendError::Interrupted(reason)) = exit else {
            panic!("{exit:?}")
        };
        assert!(reason.contains(word), "{reason}");
    }
    // The memory limit took the whole container: that is the program's verdict.
    let exit = while_running(&engine, |engine, cell| {
        let why = WhyGone::OutOfMemory;
        let facts = ContainerFacts {
            oom_kills: 1,
            ..facts
        };
        engine.script.say(&Reply::Gone { cell, why, facts });
    })
    .await;
    let facts = exit.unwrap().facts;
    let judged = judge(&facts, &limits(|_| {}));
    assert!(
        matches!(
            &judged,
            Judgement::Ran {
                verdict: Verdict::OutOfMemory,
                ..
            }
        ),
        "{judged:?}"
    );
    engine.stop().await;
}

#[tokio::test]
async fn used_up_cpu_time_ends_the_program_over_the_wire() {
    let engine = obedient();
    let exit = while_running(&engine, |engine, cell| {
        let reason = KillReason::CpuTime;
        engine.script.say(&Reply::Overrun { cell, reason });
    })
    .await;
    let facts = exit.unwrap().facts;
    assert_eq!(
        (facts.main, facts.killed),
        (MainExit::Signalled(9), Some(KillCause::CpuTime))
    );
    assert!(
        !engine
            .script
            .saw(|request| matches!(request, Request::Kill { .. }))
    );
    engine.stop().await;
}

#[tokio::test]
async fn a_limit_that_the_broker_enforces_is_a_verdict_and_its_lease_is_none() {
    let engine = obedient();
    let killed = |reason| {
        move |engine: &Scripted, cell| {
            let why = WhyGone::Killed { reason };
            let facts = ContainerFacts::default();
            engine.script.say(&Reply::Gone { cell, why, facts });
        }
    };
    let exit = while_running(&engine, killed(KillReason::WallTime)).await;
    assert_eq!(exit.unwrap().facts.killed, Some(KillCause::WallTime));
    let exit = while_running(&engine, killed(KillReason::Lease)).await;
    assert_eq!(exit.unwrap().facts.killed, Some(KillCause::Abandoned));
    engine.stop().await;
}

#[tokio::test]
async fn a_lost_broker_interrupts_its_jobs_and_the_next_one_serves_new_ones() {
    let engine = obedient();
    let exit = while_running(&engine, |engine, _cell| {
        // The watcher's word, and then the greeting of the next broker.
        engine.script.say(&Reply::Health {
            backend: BackendName::try_from("docker".to_owned()).unwrap(),
            state: HealthState::Unavailable,
            why: "it died".to_owned(),
            counts: PoolCounts::default(),
        });
        engine.script.say(&Reply::Hello { version: VERSION });
    })
    .await;
    let Err(BackendError::Interrupted(reason)) = exit else {
        panic!("{exit:?}")
    };
    assert!(reason.contains("broker"), "{reason}");
    let exit = while_running(&engine, |engine, cell| {
        let reason = KillReason::CpuTime;
        engine.script.say(&Reply::Overrun { cell, reason });
    })
    .await;
    assert_eq!(exit.unwrap().facts.killed, Some(KillCause::CpuTime));

    // A broker that speaks nonsense is none: requests are refused, in time.
    engine.script.say(&Reply::Hello { version: 99 });
    let begun = Instant::now();
    let refused = loop {
        match engine.backend.open(&wanted(&engine, limits(|_| {}))).await {
            Ok(cell) => drop(cell.destroy().await),
            Err(error) => break error,
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    assert!(matches!(refused, BackendError::Interrupted(_)), "{refused:?}");
    assert!(engine.backend.offers()[0].trouble.is_some());
    engine.stop().await;
}

#[tokio::test]
async fn a_cell_that_was_killed_before_its_program_runs_nothing() {
    let engine = obedient();
    let mut cell = engine
        .backend
        .open(&wanted(&engine, limits(|_| {})))
        .await
        .unwrap();
    cell.control().kill(KillCause::Cancelled);
    cell.control().renew(Instant::now() + Duration::from_secs(60));
    let exit = cell
        .exec(command(&["/bin/true"]), Arc::new(Heard::default()))
        .await
        .unwrap();
    assert_eq!(exit.facts.killed, Some(KillCause::Cancelled));
    assert!(
        !engine
            .script
            .saw(|request| matches!(request, Request::Start { .. } | Request::Renew { .. }))
    );
    cell.destroy().await.unwrap();
    engine.stop().await;
}
