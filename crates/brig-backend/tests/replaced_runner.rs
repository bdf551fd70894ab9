//! The runner replaced by another program, which stands where the interpreter would: it never reads, closes what it
//! should read or write, says nothing or nonsense. The exit is what the kernel saw, and it comes in time.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    reason = "a test program"
)]

mod conformance;
mod keeper;

use brig_core::StreamName::Stdout;
use brig_core::backend::{Backend, Bulk, Exit, Start, Upload};
use brig_core::exit::{KillCause, MainExit};
use brig_core::limits::LimitsRequest;
use brig_core::spec::{FileMode, WorkspacePath};
use conformance::{Heard, execution, limits, request};
use keeper::Jail;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the other program is put, and where cells look for their interpreter.
const PLACE: &str = "/workspace/interpreter";

/// Runs a program of 4 MiB with this shell script for an interpreter: far more than fits into the channel.
async fn run(
    jail: &Jail,
    script: &str,
    change: impl FnOnce(&mut LimitsRequest),
) -> (Exit, Arc<Heard>, Duration) {
    let mut cell = jail
        .backend
        .open(&request(jail.level, limits(change)))
        .await
        .unwrap();
    let interpreter = Upload {
        path: WorkspacePath::parse("interpreter").unwrap(),
        content: Bulk::Memory(format!("#!/bin/bash\n{script}\n").into_bytes()),
        mode: FileMode::Executable,
    };
    cell.upload(vec![interpreter]).await.unwrap();
    let mut wanted = execution(Start::Python {
        code: vec![b'#'; 4 << 20],
        file: None,
        args: Vec::new(),
    });
    wanted.stdin = Bulk::Memory(vec![b'x'; 1 << 20]);
    let heard = Arc::new(Heard::default());
    let begun = Instant::now();
    let exit = cell.exec(wanted, heard.clone()).await.unwrap();
    let took = begun.elapsed();
    cell.destroy().await.unwrap();
    (exit, heard, took)
}

#[tokio::test]
async fn what_stands_in_the_interpreters_place_decides_nothing() {
    let Some(jail) = Jail::start_with_python("replaced", PLACE).await else {
        return;
    };
    let quick = Duration::from_secs(5);
    // Never reads what it is sent, and ends.
    let (exit, heard, took) = run(&jail, "echo here; exit 7", |_| {}).await;
    assert_eq!(
        (exit.facts.main, heard.text(Stdout).as_str()),
        (MainExit::Exited(7), "here\n")
    );
    assert!(took < quick, "{took:?}");

    // Never reads, and stays: the limit ends it.
    let (exit, _, took) = run(&jail, "exec sleep 60", |limits| {
        limits.wall = Some(Duration::from_secs(1))
    })
    .await;
    assert_eq!(exit.facts.killed, Some(KillCause::WallTime));
    assert!(took < quick, "{took:?}");

    // Closes everything that it was given, or one end.
    for script in [
        "exec 0<&- 3<&- 4>&-; sleep 0.2",
        "exec 4>&-; sleep 0.2",
        "exec 3<&-; sleep 0.2",
    ] {
        let (exit, _, took) = run(&jail, script, |_| {}).await;
        assert_eq!(exit.facts.main, MainExit::Exited(0), "{script}");
        assert_eq!(
            exit.report,
            brig_core::backend::ProgramReport::default(),
            "{script}"
        );
        assert!(took < quick, "{script} {took:?}");
    }

    // Reads slowly, a byte at a time, while nonsense goes back.
    let slow =
        "for i in 1 2 3 4 5; do IFS= read -r -n 1 -u 3 byte; head -c 70000 /dev/urandom >&4; done; exit 3";
    let (exit, _, took) = run(&jail, slow, |_| {}).await;
    assert_eq!(exit.facts.main, MainExit::Exited(3));
    assert!(took < quick, "{took:?}");

    // A well-formed claim of success, then death by a signal.
    let claim = r"printf '\x04\0\0\0\x83\0yes' >&4; kill -KILL $$";
    let (exit, _, _) = run(&jail, claim, |_| {}).await;
    assert_eq!(
        (exit.facts.main, exit.facts.killed),
        (MainExit::Signalled(9), None)
    );
    assert_eq!(exit.report.value.as_deref(), Some("yes"));

    // Says without end what nobody asked for, from a child that survives it.
    let flood = "setsid sh -c 'while :; do head -c 65536 /dev/zero >&4; done' & sleep 0.3; exit 0";
    let (exit, _, took) = run(&jail, flood, |_| {}).await;
    assert_eq!(exit.facts.main, MainExit::Exited(0));
    assert!(took < quick, "{took:?}");
    jail.stop().await;
}

#[tokio::test]
async fn trouble_that_a_runner_tells_before_the_program_starts_is_a_bounded_hint() {
    let Some(jail) = Jail::start_with_python("trouble", PLACE).await else {
        return;
    };
    // 100,000 bytes of trouble, in a frame of its own.
    let script = r"{ printf '\xa0\x86\x01\0\x85'; head -c 100000 /dev/zero | tr '\0' 'x'; } >&4; exit 125";
    let (exit, _, _) = run(&jail, script, |_| {}).await;
    assert_eq!(exit.facts.main, MainExit::Exited(125));
    let longest = exit.hints.iter().map(String::len).max().unwrap_or(0);
    assert!((1_000..20_000).contains(&longest), "{longest}");
    jail.stop().await;
}
