//! The jail behaves as the conformance suite says, with a real keeper and real cells.
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

use brig_backend::fake::Step;
use brig_core::StreamName::{Stderr, Stdout};
use brig_core::backend::{Backend, BackendError, Bulk, CollectLimits, Start, Upload};
use brig_core::exit::{KillCause, MainExit};
use brig_core::limits::Bytes;
use brig_core::spec::{FileMode, IsolationLevel, OutputPattern, WorkspacePath};
use conformance::{Heard, Kept, Subject, command, execution, limits, python, request, run, was_killed};
use keeper::Jail;
use std::sync::Arc;
use std::time::Duration;

impl Subject for Jail {
    fn backend(&self) -> &dyn Backend {
        &self.backend
    }
    fn level(&self) -> IsolationLevel {
        self.level
    }
    fn script(&self, _steps: Vec<Step>) {}
}

fn file(name: &str, code: &str, args: &[&str]) -> Start {
    Start::Python {
        code: code.as_bytes().to_vec(),
        file: Some(WorkspacePath::parse(name).unwrap()),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
    }
}

#[tokio::test]
async fn the_jail_conforms() {
    let Some(jail) = Jail::start("conformance").await else {
        return;
    };
    conformance::all(&jail).await;
    jail.stop().await;
}

#[tokio::test]
async fn a_file_runs_as_python_would_run_it_with_and_without_a_compiled_runner() {
    let Some(jail) = Jail::start("file").await else {
        return;
    };
    let program = "import sys\nprint(sys.argv, __name__, __file__, sys.path[0])\nprint(open(__file__).readline().strip())";
    for warm in [false, true] {
        if warm {
            jail.backend.warm_up(jail.level, &limits(|_| {})).await.unwrap();
        }
        let (exit, heard) = run(
            &jail,
            limits(|_| {}),
            execution(file("sub/hello.py", program, &["a b", "é"])),
        )
        .await;
        assert_eq!(heard.text(Stderr), "");
        assert_eq!(
            heard.text(Stdout),
            "['sub/hello.py', 'a b', 'é'] __main__ /workspace/sub/hello.py /workspace/sub\nimport sys\n"
        );
        assert_eq!(exit.facts.main, MainExit::Exited(0));
    }
    jail.stop().await;
}

#[tokio::test]
async fn inputs_stdin_environment_and_outputs_reach_their_places() {
    let Some(jail) = Jail::start("inputs").await else {
        return;
    };
    let mut cell = jail
        .backend
        .open(&request(jail.level, limits(|_| {})))
        .await
        .unwrap();
    let upload = |path: &str, content: &[u8], mode| Upload {
        path: WorkspacePath::parse(path).unwrap(),
        content: Bulk::Memory(content.to_vec()),
        mode,
    };
    let big = vec![7; 3_000_001];
    cell.upload(vec![
        upload("data/in.bin", &big, FileMode::Regular),
        upload("tool.sh", b"#!/bin/sh\necho tool ran\n", FileMode::Executable),
        upload("empty", b"", FileMode::Regular),
    ])
    .await
    .unwrap();
    let program = "import os, subprocess, sys\ndata = open('data/in.bin', 'rb').read()\nopen('out.bin', 'wb').write(data[::-1])\n\
                   print(len(data), os.path.getsize('empty'), sorted(os.environ))\n\
                   print(subprocess.check_output('./tool.sh').decode().strip())\nos.symlink('/etc/passwd', 'evil')\n\
                   print(len(sys.stdin.read()), os.environ['TOKEN'])";
    let mut wanted = python(program);
    wanted.env = vec![("TOKEN".to_owned(), "hunter2hunter2".to_owned())];
    wanted.redact = vec!["hunter2hunter2".to_owned()];
    wanted.stdin = Bulk::Memory(vec![b'x'; 1_000_000]);
    let heard = Arc::new(Heard::default());
    let exit = cell.exec(wanted, heard.clone()).await.unwrap();
    assert_eq!(heard.text(Stderr), "");
    assert_eq!(
        heard.text(Stdout),
        "3000001 0 ['HOME', 'LANG', 'LOGNAME', 'PATH', 'TOKEN', 'USER']\ntool ran\n1000000 [redacted]\n"
    );
    assert_eq!(exit.facts.main, MainExit::Exited(0));
    let patterns = [
        OutputPattern::parse("out*").unwrap(),
        OutputPattern::parse("evil").unwrap(),
    ];
    let mut kept = Kept::default();
    let collected = cell
        .download(&patterns, CollectLimits::default(), &mut kept)
        .await
        .unwrap();
    assert_eq!(kept.files, [("out.bin".to_owned(), big)]);
    assert_eq!(
        (
            collected.skipped[0].path.as_str(),
            collected.skipped[0].reason.as_str()
        ),
        ("evil", "not a regular file")
    );
    cell.destroy().await.unwrap();
    jail.stop().await;
}

#[tokio::test]
async fn a_program_that_reads_no_stdin_is_not_waited_for() {
    let Some(jail) = Jail::start("stdin").await else {
        return;
    };
    let mut wanted = command(&["/bin/true"]);
    wanted.stdin = Bulk::Memory(vec![b'x'; 10_000_000]);
    let (exit, _) = run(&jail, limits(|_| {}), wanted).await;
    assert_eq!(exit.facts.main, MainExit::Exited(0));
    jail.stop().await;
}

#[tokio::test]
async fn a_limit_that_was_hit_is_told_with_the_way_to_raise_it() {
    let Some(jail) = Jail::start("limits").await else {
        return;
    };
    let short = limits(|request| request.wall = Some(Duration::from_millis(500)));
    let (exit, heard) = run(
        &jail,
        short,
        python("print('begun')\nimport time\ntime.sleep(60)"),
    )
    .await;
    assert_eq!(exit.facts.killed, Some(KillCause::WallTime));
    assert!(was_killed(exit.facts.main));
    assert_eq!(heard.text(Stdout), "begun\n");
    assert_eq!(exit.hints, ["time limit 0.5 s reached: raise it with --timeout"]);
    assert!(exit.facts.wall >= Duration::from_millis(500) && exit.facts.wall < Duration::from_millis(1_500));

    let small = limits(|request| request.memory = Some(Bytes::mib(128)));
    let (exit, _) = run(&jail, small, python("x = bytearray(400 * 1024 * 1024)")).await;
    assert!(
        exit.hints[0].starts_with("memory limit 128 MiB reached"),
        "{exit:?}"
    );
    jail.stop().await;
}

#[tokio::test]
async fn a_refused_call_is_named() {
    let Some(jail) = Jail::start("refused").await else {
        return;
    };
    let program = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n\
                   print(libc.mount(b'a', b'/tmp', b'tmpfs', 0, None), ctypes.get_errno())\nraise PermissionError('mount')";
    let (exit, heard) = run(&jail, limits(|_| {}), python(program)).await;
    assert_eq!(heard.text(Stdout), "-1 1\n");
    let names: Vec<&str> = exit
        .facts
        .refused_calls
        .iter()
        .map(|call| call.name.as_str())
        .collect();
    assert_eq!(names, ["mount"]);
    assert!(
        exit.hints.iter().any(|hint| hint.contains("mount (once)")),
        "{:?}",
        exit.hints
    );
    jail.stop().await;
}

#[tokio::test]
async fn the_death_of_the_keeper_ends_every_job_with_a_loss() {
    let Some(mut jail) = Jail::start("death").await else {
        return;
    };
    let heard = Arc::new(Heard::default());
    let mut cell = jail
        .backend
        .open(&request(jail.level, limits(|_| {})))
        .await
        .unwrap();
    let running = cell.exec(
        python("print('ready')\nimport time\ntime.sleep(60)"),
        heard.clone(),
    );
    let killing = async {
        heard.until(Stdout, "ready").await;
        jail.child.kill().unwrap();
    };
    let (exit, ()) = tokio::join!(running, killing);
    assert!(matches!(exit, Err(BackendError::Lost("the keeper"))), "{exit:?}");
    jail.backend.keeper().lost().await;
    jail.child.wait().unwrap();
}

#[tokio::test]
async fn the_death_of_the_keeper_while_files_are_moved_is_no_fault_of_its_helper() {
    for delay in (0..8).map(|step| Duration::from_micros(step * 700)) {
        let Some(mut jail) = Jail::start("files-death").await else {
            return;
        };
        let wanted = request(jail.level, limits(|_| {}));
        let mut cell = jail.backend.open(&wanted).await.unwrap();
        let upload = Upload {
            path: WorkspacePath::parse("in").unwrap(),
            content: Bulk::Memory(vec![1; 100_000]),
            mode: FileMode::Regular,
        };
        let killing = async {
            tokio::time::sleep(delay).await;
            jail.child.kill().unwrap();
        };
        let (moved, ()) = tokio::join!(cell.upload(vec![upload]), killing);
        let honest = matches!(moved, Ok(()) | Err(BackendError::Lost("the keeper")));
        assert!(honest, "killed after {delay:?}: {moved:?}");
        jail.child.wait().unwrap();
    }
}

#[tokio::test]
async fn a_cell_that_is_dropped_is_released_and_does_not_hold_up_others() {
    let Some(jail) = Jail::start("dropped").await else {
        return;
    };
    for _ in 0..10 {
        let mut cell = jail
            .backend
            .open(&request(jail.level, limits(|_| {})))
            .await
            .unwrap();
        let running = cell.exec(python("while True: pass"), Arc::new(Heard::default()));
        let gone = tokio::time::timeout(Duration::from_millis(30), running).await;
        assert!(gone.is_err());
        drop(cell);
    }
    let (exit, _) = run(&jail, limits(|_| {}), python("1")).await;
    assert_eq!(exit.report.value.as_deref(), Some("1"));
    jail.stop().await;
}
