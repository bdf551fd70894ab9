//! The same with a real engine behind a real broker, where `BRIG_TESTS_ENGINE` names its socket.

use crate::conformance::{self, Heard, Subject, command, limits, python, run, wanted};
use crate::real_engine::Real;
use brig_core::StreamName::Stdout;
use brig_core::backend::BackendError;
use brig_core::exit::MainExit;
use brig_core::limits::Bytes;
use brig_core::outcome::Verdict;
use brig_core::verdict::{Judgement, judge};
use std::process::{Command, Stdio};
use std::sync::Arc;

#[tokio::test]
async fn containers_of_runc_conform() {
    let Some(engine) = Real::start("runc", "runc") else {
        return;
    };
    conformance::all(&engine).await;
    verdicts(&engine).await;
    engine.stop().await;
}

#[tokio::test]
async fn containers_of_gvisor_conform() {
    let Some(engine) = Real::start("runsc", "runsc") else {
        return;
    };
    conformance::all(&engine).await;
    engine.stop().await;
}

/// What only a kernel can tell.
async fn verdicts(engine: &dyn Subject) {
    let small = limits(|limits| {
        limits.memory = Some(Bytes::mib(96));
        limits.workspace = Some(Bytes::mib(8));
        limits.tmp = Some(Bytes::mib(8));
        limits.shm = Some(Bytes::mib(8));
    });
    let (exit, _) = run(engine, small, python("x = bytearray(300 << 20)")).await;
    let judged = judge(&exit.facts, &small);
    assert!(
        matches!(
            judged,
            Judgement::Ran {
                verdict: Verdict::OutOfMemory,
                ..
            }
        ),
        "{exit:?}"
    );

    let argv = [
        "/bin/sh",
        "-c",
        "(head -c 300m /dev/zero | tail >/dev/null); exit 4",
    ];
    let (exit, _) = run(engine, small, command(&argv)).await;
    assert_eq!(exit.facts.main, MainExit::Exited(4), "{exit:?}");
    assert!(exit.facts.oom_kills > 0, "{exit:?}");

    let few = limits(|limits| limits.processes = Some(8));
    let forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done 2>/dev/null; exit 0";
    let (exit, _) = run(engine, few, command(&["/bin/bash", "-c", forks])).await;
    assert!(exit.facts.forks_refused > 0, "{exit:?}");

    let spin = limits(|limits| limits.cpu_time = Some(std::time::Duration::from_secs(1)));
    let two = "import os\nos.fork()\nwhile True: pass";
    let (exit, _) = run(engine, spin, python(two)).await;
    let judged = judge(&exit.facts, &spin);
    assert!(
        matches!(
            judged,
            Judgement::Ran {
                verdict: Verdict::TimedOut { .. },
                ..
            }
        ),
        "{exit:?}"
    );
    assert!(
        exit.facts.cpu >= std::time::Duration::from_millis(900),
        "{exit:?}"
    );
}

#[tokio::test]
async fn a_container_that_is_removed_by_hand_interrupts_its_job() {
    let Some(engine) = Real::start("by hand", "runc") else {
        return;
    };
    let request = wanted(&engine, limits(|_| {}));
    let job = request.job;
    let mut cell = engine.backend().open(&request).await.unwrap();
    let heard = Arc::new(Heard::default());
    let running = cell.exec(command(&["/bin/sh", "-c", "echo up; sleep 60"]), heard.clone());
    let socket = engine.socket.clone();
    let removing = async {
        heard.until(Stdout, "up").await;
        let find = Command::new("docker")
            .args(["-H", &socket, "ps", "-q", "--no-trunc", "--filter"])
            .arg(format!("label=dev.brig.job={job}"))
            .output()
            .unwrap();
        let container = String::from_utf8(find.stdout).unwrap().trim().to_owned();
        assert_eq!(container.len(), 64, "{container}");
        let removed = Command::new("docker")
            .args(["-H", &socket, "rm", "-f", &container])
            .stdout(Stdio::null())
            .status();
        assert!(removed.unwrap().success());
    };
    let (exit, ()) = tokio::join!(running, removing);
    assert!(
        matches!(&exit, Err(BackendError::Interrupted(reason)) if reason.contains("from outside")),
        "{exit:?}"
    );
    cell.destroy().await.unwrap();
    // The next job does not notice.
    let (exit, _) = run(&engine, limits(|_| {}), command(&["/bin/true"])).await;
    assert_eq!(exit.facts.main, MainExit::Exited(0));
    engine.stop().await;
}
