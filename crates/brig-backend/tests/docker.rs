//! Cells in containers behave as the conformance suite says, and what the other end of a container's wire does harms
//! nothing but that cell. The broker is the test's; `brig-jail-init --container` is real where it is started at all.
#![allow(
    clippy::unwrap_used,
    clippy::tests_outside_test_module,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    reason = "a test program"
)]

mod conformance;
mod real_engine;
mod scripted_engine;

#[path = "docker/hostile.rs"]
mod hostile;
#[path = "docker/real.rs"]
mod real;
#[path = "docker/trouble.rs"]
mod trouble;

use brig_backend::docker::protocol::{ContainerFacts, Request};
use brig_core::StreamName::{Stderr, Stdout};
use brig_core::backend::{Backend, Bulk, CollectLimits, Upload};
use brig_core::exit::{KillCause, MainExit};
use brig_core::spec::{FileMode, OutputPattern, WorkspacePath};
use conformance::{Heard, Kept, command, limits, python, run, wanted};
use scripted_engine::Scripted;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test]
async fn containers_of_a_scripted_engine_conform() {
    let Some(engine) = Scripted::start("conformance") else {
        return;
    };
    conformance::all(&engine).await;
    engine.stop().await;
}

#[tokio::test]
async fn inputs_stdin_environment_and_outputs_reach_their_places() {
    let Some(engine) = Scripted::start("inputs") else {
        return;
    };
    let mut cell = engine
        .backend
        .open(&wanted(&engine, limits(|_| {})))
        .await
        .unwrap();
    let upload = Upload {
        path: WorkspacePath::parse("in/data.txt").unwrap(),
        content: Bulk::Memory(b"content".to_vec()),
        mode: FileMode::Regular,
    };
    cell.upload(vec![upload]).await.unwrap();
    let big = WorkspacePath::parse("big").unwrap();
    let megabyte = Upload {
        path: big,
        content: Bulk::Memory(vec![b'y'; 1 << 20]),
        mode: FileMode::Executable,
    };
    // A second conversation about files follows the first.
    cell.upload(vec![megabyte]).await.unwrap();
    let mut program = command(&[
        "/bin/sh",
        "-c",
        "cat in/data.txt; cat; echo $OF_THE_IMAGE $MINE $HOME >&2; mv big out.bin; test -x out.bin",
    ]);
    program.env = vec![("MINE".to_owned(), "own".to_owned())];
    program.stdin = Bulk::Memory(vec![b'x'; 700_000]);
    let heard = Arc::new(Heard::default());
    let exit = cell.exec(program, heard.clone()).await.unwrap();
    assert_eq!(exit.facts.main, MainExit::Exited(0), "{exit:?}");
    assert_eq!(heard.text(Stderr), "yes own /workspace\n");
    let out = heard.text(Stdout);
    assert!(
        out.starts_with("contentxxx") && out.len() == 700_007,
        "{}",
        out.len()
    );
    let mut kept = Kept::default();
    let patterns = [OutputPattern::parse("*.bin").unwrap()];
    let collected = cell
        .download(&patterns, CollectLimits::default(), &mut kept)
        .await
        .unwrap();
    assert_eq!((collected.files.len(), kept.files[0].1.len()), (1, 1 << 20));
    cell.destroy().await.unwrap();
    engine.stop().await;
}

#[tokio::test]
async fn limits_in_time_end_the_program_and_leave_its_files() {
    let Some(engine) = Scripted::start("time") else {
        return;
    };
    let second = limits(|limits| limits.wall = Some(Duration::from_secs(1)));
    let mut cell = engine.backend.open(&wanted(&engine, second)).await.unwrap();
    let program = command(&["/bin/sh", "-c", "echo kept > kept.txt; sleep 60 & sleep 60"]);
    let exit = cell.exec(program, Arc::new(Heard::default())).await.unwrap();
    assert_eq!(exit.facts.killed, Some(KillCause::WallTime));
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&exit.facts.wall));
    let mut kept = Kept::default();
    let patterns = [OutputPattern::parse("*.txt").unwrap()];
    cell.download(&patterns, CollectLimits::default(), &mut kept)
        .await
        .unwrap();
    assert_eq!(kept.files, [("kept.txt".to_owned(), b"kept\n".to_vec())]);
    cell.destroy().await.unwrap();

    // A lease that nobody renews is our fault and no verdict.
    let mut program = command(&["/bin/sleep", "60"]);
    program.lease_until = Instant::now() + Duration::from_millis(300);
    let (exit, _) = run(&engine, limits(|_| {}), program).await;
    assert_eq!(exit.facts.killed, Some(KillCause::Abandoned));
    engine.stop().await;
}

#[tokio::test]
async fn what_the_kernel_counted_comes_from_the_broker() {
    let Some(engine) = Scripted::start("facts") else {
        return;
    };
    *engine.script.facts.lock().unwrap() = ContainerFacts {
        oom_kills: 1,
        forks_refused: 4,
        cpu_nanos: 5_000_000,
        memory_peak_bytes: 6,
        processes_peak: 7,
        ..ContainerFacts::default()
    };
    let argv = ["/bin/sh", "-c", "sleep 60 & kill -9 $$"];
    let (exit, _) = run(&engine, limits(|_| {}), command(&argv)).await;
    let facts = exit.facts;
    assert_eq!(
        (facts.main, facts.oom_kills, facts.forks_refused),
        (MainExit::Signalled(9), 1, 4)
    );
    assert_eq!(facts.cpu, Duration::from_millis(5));
    // The first process of the container is not the program's.
    assert_eq!((facts.memory_peak, facts.processes_peak), (Some(6), Some(6)));
    assert_eq!(facts.leftovers_killed, 1);
    let asked = engine
        .script
        .until(|request| matches!(request, Request::Start { .. }));
    assert!(matches!(asked, Request::Start { lease_nanos, .. } if lease_nanos > 1));
    engine.stop().await;
}

#[tokio::test]
async fn a_python_program_that_cannot_be_started_is_the_images_fault() {
    let Some(engine) = Scripted::start("interpreter") else {
        return;
    };
    // The runner speaks where Python runs, and is compiled once for the image.
    let (exit, heard) = run(&engine, limits(|_| {}), python("print('hello')\n6 * 7")).await;
    assert_eq!(
        (heard.text(Stdout).as_str(), exit.report.value.as_deref()),
        ("hello\n", Some("42"))
    );
    engine.backend.warm_up(&limits(|_| {})).await.unwrap();
    let (exit, _) = run(&engine, limits(|_| {}), python("6 * 7")).await;
    assert_eq!(exit.report.value.as_deref(), Some("42"));
    engine.stop().await;
}
