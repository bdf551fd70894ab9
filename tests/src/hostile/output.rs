//! Output and input: floods, bytes that are no text, order.

use super::{Arm, Check};
use crate::cell::Bench;
use anyhow::{Result, ensure};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "O-01",
        title: "endless output is ended at the limit",
        needs: &[],
        body: endless,
        arm: Arm::Within,
    },
    Check {
        id: "O-02",
        title: "both streams are cut apart",
        needs: &[],
        body: both,
        arm: Arm::Within,
    },
    Check {
        id: "O-04",
        title: "bytes that are no text arrive by a rule",
        needs: &[],
        body: |bench| {
            let seen = bench.program("binary_output.py").go()?;
            seen.exited(0)?.printed("begin")?.printed(" end")?;
            ensure!(
                seen.stdout.contains('\u{FFFD}') && seen.stdout.contains('\0'),
                "rule{}",
                seen.told()
            );
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "O-10",
        title: "stdin of every kind",
        needs: &[],
        body: stdin,
        arm: Arm::NoRefusal,
    },
    Check {
        id: "O-11",
        title: "what was printed before the end arrives, in order",
        needs: &[],
        body: |bench| {
            let raised = bench.program("print_then_raise.py").go()?;
            raised.exited(1)?;
            ensure!(
                raised.stdout == "first line\nlast line before the end\n",
                "stdout{}",
                raised.told()
            );
            ensure!(
                raised.stderr.starts_with("second, on stderr\nTraceback"),
                "stderr{}",
                raised.told()
            );
            ensure!(
                raised.report["exception"]["name"] == "ValueError",
                "exception{}",
                raised.told()
            );
            ensure!(
                raised.report["exception"]["message"] == "the last thing that it says",
                "{}",
                raised.told()
            );
            let killed = bench.program("print_then_die.py").go()?;
            killed.is("signalled", 137)?.printed("flushed before death\n")?;
            let crashed = bench.program("crash.py").go()?;
            crashed.is("signalled", 139)?;
            Ok(())
        },
        arm: Arm::NoRefusal,
    },
];

/// Resident memory of the daemon, KiB; nothing where the run has its own.
fn daemon_memory(bench: &Bench) -> Result<Option<u64>> {
    let Some((daemon, _)) = &bench.daemon else {
        return Ok(None);
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.daemon()?))?;
    let line = crate::assert::field(&status, "VmRSS:").unwrap_or_default();
    Ok(line
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok()))
}

fn endless(bench: &Bench) -> Result<()> {
    // The first flood also warms the allocator up.
    flood(bench)?;
    let before = daemon_memory(bench)?;
    if before.is_some() {
        flood(bench)?;
    }
    let after = daemon_memory(bench)?;
    if let (Some(before), Some(after)) = (before, after) {
        // What is kept of both streams, twice (in memory and on its way to the store), and 4 MiB.
        let grown = after.saturating_sub(before);
        ensure!(grown <= 12 * 1024, "the daemon grew by {grown} KiB");
    }
    Ok(())
}

fn flood(bench: &Bench) -> Result<()> {
    for form in ["lines", "solid"] {
        let seen = bench
            .program("flood_stdout.py")
            .args(&[form])
            .time_enough(30)
            .go()?;
        seen.is("output_limit", 123)?;
        ensure!(seen.stdout.starts_with("HEAD OF OUTPUT"), "head{}", seen.told());
        let kept = seen.stdout.len();
        ensure!(
            (500_000..3_000_000).contains(&kept),
            "{kept} bytes kept{}",
            seen.told()
        );
        ensure!(is_cut(&seen.report, "stdout"), "truncated{}", seen.told());
    }
    Ok(())
}

fn both(bench: &Bench) -> Result<()> {
    let seen = bench.program("flood_both.py").args(&["5"]).time_enough(30).go()?;
    seen.exited(0)?;
    ensure!(
        seen.stdout.ends_with("END OUT\n"),
        "tail of stdout{}",
        seen.told()
    );
    ensure!(
        seen.stderr.ends_with("END ERR\n"),
        "tail of stderr{}",
        seen.told()
    );
    for stream in ["stdout", "stderr"] {
        ensure!(is_cut(&seen.report, stream), "{stream} is cut{}", seen.told());
    }
    let whole = bench.code("print('short')").go()?;
    ensure!(!is_cut(&whole.report, "stdout"), "not cut{}", whole.told());
    Ok(())
}

/// Whether the report says that a stream was cut, in truth and in bytes.
fn is_cut(report: &serde_json::Value, stream: &str) -> bool {
    let stream = &report["output"][stream];
    let fewer_kept = stream["kept_bytes"].as_u64() < stream["produced_bytes"].as_u64();
    fewer_kept && stream["truncated"] == true && report["truncated"] == true
}

fn stdin(bench: &Bench) -> Result<()> {
    let large: Vec<u8> = (0..50 * 1024 * 1024_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    for (bytes, digest) in [
        (large.as_slice(), None),
        (b"\x00\xff\r\n\x1a end", None),
        (b"", Some(EMPTY)),
    ] {
        let seen = bench
            .program("digest_stdin.py")
            .options(&["--memory", "512MiB"])
            .stdin(bytes)
            .go()?;
        seen.exited(0)?;
        let line = seen.saw("stdin")?;
        ensure!(
            line.starts_with(&format!("{} ", bytes.len())),
            "length{}",
            seen.told()
        );
        let expected = match digest {
            Some(known) => known.to_owned(),
            None => digest_outside(bench, bytes)?,
        };
        ensure!(line.ends_with(&expected), "content{}", seen.told());
    }
    let absent = bench.program("digest_stdin.py").go()?;
    ensure!(
        absent.saw("stdin")?.starts_with("0 "),
        "no stdin{}",
        absent.told()
    );
    bench
        .program("ignore_stdin.py")
        .stdin(&large)
        .go()?
        .exited(0)
        .map(drop)
}

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn digest_outside(bench: &Bench, bytes: &[u8]) -> Result<String> {
    let mut command = crate::process::command("/usr/bin/python3");
    command.arg(bench.stage.path("programs/digest_stdin.py"));
    let done = crate::process::run(command, bytes.to_vec(), std::time::Duration::from_secs(30))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    Ok(text.split_whitespace().last().unwrap_or_default().to_owned())
}
