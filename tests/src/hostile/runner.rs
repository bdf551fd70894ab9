//! The runner is inside the cell and not trusted: a program speaks in its place. The verdict comes from the kernel, what
//! is reported is bounded, and nobody waits for it.

use super::{Arm, Check};
use crate::cell::Bench;
use crate::seen::Seen;
use crate::slack::{stretched, stretched_ms};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

const LIAR: &str = "lie_as_runner.py";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "H-01",
        title: "who claims success and dies has died",
        needs: &[],
        body: |bench| {
            lie(bench, "success_then_signal")?.is("signalled", 137)?;
            lie(bench, "success_then_failure")?.exited(3)?;
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "H-02",
        title: "a claimed exception is no failure, and of two reports the first counts",
        needs: &[],
        body: |bench| {
            lie(bench, "exception_then_success")?.exited(0)?;
            let seen = lie(bench, "two_results")?;
            seen.exited(0)?;
            ensure!(seen.report["value"] == "'first'", "value{}", seen.told());
            ensure!(
                seen.report["exception"]["name"] == "One",
                "exception{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "H-03",
        title: "no program speaks in the name of Brig",
        needs: &[],
        body: |bench| {
            let seen = lie(bench, "trouble")?;
            seen.exited(125)?;
            ensure!(
                !seen.report["hints"].to_string().contains("evil"),
                "{}",
                seen.told()
            );
            lie(bench, "compiled")?.exited(0)?;
            // What came as the runner's compiled form did not take its place.
            let next = bench.code("6 * 7").go()?;
            next.exited(0)?;
            ensure!(next.report["value"] == "42", "the next job{}", next.told());
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "H-04",
        title: "half, huge and senseless frames change no verdict",
        needs: &[],
        body: |bench| {
            for kind in [
                "huge_length",
                "half_a_frame",
                "nonsense",
                "started_for_ever",
                "closed",
            ] {
                let seen = lie(bench, kind)?;
                seen.exited(0)?;
                ensure!(seen.report["value"].is_null(), "{kind}{}", seen.told());
            }
            let seen = lie(bench, "many_frames")?;
            seen.exited(1)?;
            ensure!(seen.report["exception"].is_null(), "many frames{}", seen.told());
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "H-05",
        title: "reported texts are cut, marked and harmless",
        needs: &[],
        body: texts,
        arm: Arm::NoRefusal,
    },
    Check {
        id: "H-06",
        title: "a child that keeps the runner's pipe holds nobody up",
        needs: &[],
        body: |bench| {
            let seen = lie(bench, "child_holds_it")?;
            seen.exited(0)?.flagged("leftover_processes_killed")?;
            ensure!(seen.usage("wall_ms")? < stretched_ms(2_000.0), "{}", seen.told());
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "H-07",
        title: "nobody listens to a flood of reports, and its limits stay",
        needs: &[],
        body: flood,
        arm: Arm::NoRefusal,
    },
    Check {
        id: "H-08",
        title: "while a runner floods, the daemon stays small and others are served",
        needs: &[],
        body: neighbours,
        arm: Arm::NoRefusal,
    },
];

fn lie(bench: &Bench, kind: &str) -> Result<Seen> {
    bench
        .program(LIAR)
        .args(&[kind])
        .options(&["--timeout", "20s"])
        .go()
}

fn texts(bench: &Bench) -> Result<()> {
    let seen = lie(bench, "giants")?;
    seen.exited(1)?;
    let length = |pointer: &str| {
        let text = seen.report.pointer(pointer).and_then(serde_json::Value::as_str);
        text.map(str::len).with_context(|| format!("no {pointer}"))
    };
    for (pointer, most) in [
        ("/value", 67_000),
        ("/exception/name", 1_200),
        ("/exception/message", 18_000),
        ("/exception/traceback", 67_000),
        ("/exception/frames/0/file", 1_200),
    ] {
        let bytes = length(pointer)?;
        ensure!((1..most).contains(&bytes), "{pointer} has {bytes} bytes");
        let text = seen.report.pointer(pointer).map(ToString::to_string);
        ensure!(
            text.is_some_and(|text| text.contains("(cut)")),
            "{pointer} is not marked"
        );
    }
    let seen = lie(bench, "bad_names")?;
    seen.exited(1)?;
    ensure!(
        seen.report["files"].as_array().is_some_and(Vec::is_empty),
        "{}",
        seen.told()
    );
    Ok(())
}

fn flood(bench: &Bench) -> Result<()> {
    let seen = bench
        .program(LIAR)
        .args(&["flood"])
        .options(&["--timeout", "2s"])
        .go()?;
    seen.timed_out("wall")?;
    // What was read, and what two pipes' worth of buffers took.
    ensure!(seen.number("sent")? < 8e6, "it was listened to{}", seen.told());
    let late = seen.usage("wall_ms")? - 2_000.0;
    ensure!(late <= stretched_ms(500.0), "{late} ms late{}", seen.told());
    let seen = bench
        .program(LIAR)
        .args(&["flood_everything"])
        .options(&["--timeout", "20s", "--output-limit", "16MiB"])
        .go()?;
    seen.is("output_limit", 123)?;
    Ok(())
}

/// The memory of a process, bytes.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = crate::assert::field(&status, "VmRSS:").context("no VmRSS")?;
    let kib = field.trim().trim_end_matches(" kB").trim().parse::<u64>()?;
    Ok(kib * 1024)
}

/// How long short jobs take, the middle of nine.
fn latency(bench: &Bench) -> Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..9 {
        let began = Instant::now();
        bench.code("1").start()?.report()?.exited(0)?;
        took.push(began.elapsed());
    }
    took.sort();
    Ok(took[took.len() / 2])
}

fn neighbours(bench: &Bench) -> Result<()> {
    let Some((daemon, _)) = &bench.daemon else {
        return Err(crate::skip::Skip::because("asked where jobs share a daemon").into());
    };
    let pid = daemon.daemon()?;
    let quiet = latency(bench)?;
    let before = resident(pid)?;
    // A spinner is the fair comparison: the cell's CPU is its own.
    let spinner = bench
        .code("while True: pass")
        .options(&["--timeout", "60s"])
        .start()?;
    let beside_spinner = latency(bench)?;
    spinner.running().signal(nix::sys::signal::Signal::SIGINT)?;
    spinner.report()?;
    let run = bench
        .program(LIAR)
        .args(&["flood"])
        .options(&["--timeout", "60s"])
        .start()?;
    let beside_flood = latency(bench)?;
    let after = resident(pid)?;
    run.running().signal(nix::sys::signal::Signal::SIGINT)?;
    run.finish()?;
    let grown = after.saturating_sub(before);
    if let Some(path) = std::env::var_os("BRIG_TESTS_FIGURES") {
        let line = format!(
            "flood: quiet {quiet:?} spinner {beside_spinner:?} flood {beside_flood:?} grown {grown}\n"
        );
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
            .ok();
    }
    ensure!(grown < 16 << 20, "the daemon grew by {grown} bytes");
    let most = 2 * beside_spinner.max(quiet) + stretched(Duration::from_millis(50));
    ensure!(
        beside_flood <= most,
        "{beside_flood:?} beside a flood, {beside_spinner:?} beside a spinner, {quiet:?} alone"
    );
    Ok(())
}
