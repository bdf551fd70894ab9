//! Files: what others execute, the skeleton of the cell, ways out through directories, and outputs of every kind.

use super::super::{Arm, Check, files::Planted};
use crate::cell::Bench;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::Duration;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "B-01",
        title: "what PID 1, the interpreter and other programs are made of cannot be written",
        needs: &[],
        body: |bench| {
            let seen = bench.program("write_executables.py").go()?;
            seen.refused_everything_but(&[]).map(drop)
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("write_executables.py", &["outside"])?;
            seen.reached("libc").map(drop)
        }),
    },
    Check {
        id: "B-02",
        title: "the skeleton of the cell cannot be changed",
        needs: &[],
        body: |bench| {
            let seen = bench.program("alter_skeleton.py").go()?;
            seen.refused_everything_but(&[]).map(drop)
        },
        arm: Arm::Shows(|bench| {
            let run = bench.program("alter_skeleton.py");
            let seen = run.without(&["read_only_root", "landlock"]).go()?;
            seen.reached("mkdir /new")?.reached("file in /etc").map(drop)
        }),
    },
    Check {
        id: "B-03",
        title: "no directory that a program holds leads to the host's files",
        needs: &[],
        body: |bench| {
            let planted = Planted::new()?;
            for path in planted.paths() {
                let seen = bench.program("directory_escape.py").args(&[path]).go()?;
                seen.refused_everything_but(&[])?;
            }
            Ok(())
        },
        arm: Arm::Shows(|bench| {
            let planted = Planted::new()?;
            let path = *planted.paths().first().context("nothing planted")?;
            let seen = bench.outside("directory_escape.py", &[path])?;
            seen.reached("/ down")?.reached(". up").map(drop)
        }),
    },
    Check {
        id: "B-04",
        title: "outputs that are swapped for links while they are collected give nothing away",
        needs: &[],
        body: swapped_outputs,
        arm: Arm::Within,
    },
    Check {
        id: "B-05",
        title: "outputs of odd names and sizes arrive under safe names, or are named with the reason",
        needs: &[],
        body: odd_outputs,
        arm: Arm::Within,
    },
    Check {
        id: "B-06",
        title: "a tree 3,000 directories deep holds nothing up",
        needs: &[],
        body: deep_tree,
        arm: Arm::NoRefusal,
    },
    Check {
        id: "B-07",
        title: "no leases, notifications, flags or attributes of files",
        needs: &[],
        body: |bench| {
            let seen = bench.program("leases.py").go()?;
            seen.refused_everything_but(&[]).map(drop)
        },
        arm: Arm::Shows(|bench| {
            let seen = bench.outside("leases.py", &[])?;
            seen.reached("lease")?.reached("notify").map(drop)
        }),
    },
    Check {
        id: "B-08",
        title: "a private view of the image can be overwritten, and the image stays",
        needs: &[],
        body: |bench| {
            let seen = bench.program("private_copy.py").args(&["/etc/passwd"]).go()?;
            seen.exited(0)?;
            ensure!(seen.saw("file")? == "unchanged", "{}", seen.told());
            bench
                .command(&["head", "-c", "5", "/etc/passwd"])
                .go()?
                .printed("root:")
                .map(drop)
        },
        arm: Arm::NoRefusal,
    },
    Check {
        id: "B-09",
        title: "programs run from the workspace and /tmp, not from /dev/shm; what is none is an error of its own",
        needs: &[],
        body: run_things,
        arm: Arm::Within,
    },
];

fn swapped_outputs(bench: &Bench) -> Result<()> {
    let collect = bench.stage.directory(bench.mode)?;
    let into = collect.path().display().to_string();
    let globs = ["--out", "*.out", "--out", "mine/*", "--out", "theirs/*"];
    let run = bench.program("swap_outputs.py").options(&globs);
    let seen = run.options(&["--out-dir", &into]).go()?;
    seen.exited(0)?;
    let mut collected = 0;
    for path in files_below(collect.path())? {
        let content = std::fs::read_to_string(&path)?;
        ensure!(
            content == "mine\n",
            "{} holds {content:?}{}",
            path.display(),
            seen.told()
        );
        collected += 1;
    }
    ensure!(collected >= 20, "only {collected} files{}", seen.told());
    Ok(())
}

fn files_below(directory: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            ensure!(
                kind.is_dir() || kind.is_file(),
                "{} is {kind:?}",
                entry.path().display()
            );
            if kind.is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn odd_outputs(bench: &Bench) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let collect = bench.stage.directory(bench.mode)?;
    let into = collect.path().display().to_string();
    let run = bench.program("odd_outputs.py");
    let seen = run
        .options(&["--out", "*.odd", "--out", "**/*.odd", "--out-dir", &into])
        .go()?;
    seen.exited(0)?.refused("sparse 1 TiB", &["EFBIG"])?;
    let files = files_below(collect.path())?;
    ensure!(files.len() >= 12, "only {} files{}", files.len(), seen.told());
    for path in &files {
        let name = path.strip_prefix(collect.path())?.display().to_string();
        let safe = |letter: char| !letter.is_control();
        ensure!(name.chars().all(safe), "{name:?} has control characters");
        let mode = std::fs::metadata(path)?.permissions().mode();
        ensure!(mode & 0o7000 == 0, "{name} has mode {mode:o}");
    }
    let good = std::fs::read(collect.path().join("good.odd"))?;
    ensure!(good == b"the good one\n", "the good one{}", seen.told());
    let skipped = seen.report["skipped_files"].to_string();
    for name in ["unreadable.odd", "closed"] {
        ensure!(
            skipped.contains(name),
            "{name} is missing without a word{}",
            seen.told()
        );
    }
    Ok(())
}

fn deep_tree(bench: &Bench) -> Result<()> {
    let collect = bench.stage.directory(bench.mode)?;
    let into = collect.path().display().to_string();
    let options = ["--out", "**/*.deep", "--out-dir", &into, "--timeout", "60s"];
    let seen = bench.program("deep_tree.py").options(&options).go()?;
    seen.exited(0)?;
    ensure!(seen.number("depth")? >= 3_000.0, "depth{}", seen.told());
    let program = Duration::from_secs_f64(seen.usage("wall_ms")? / 1_000.0);
    let around = seen.elapsed.saturating_sub(program);
    ensure!(
        around < crate::slack::stretched(Duration::from_secs(10)),
        "{around:?} around the program{}",
        seen.told()
    );
    ensure!(
        collect.path().join("top.deep").is_file(),
        "the file at the top{}",
        seen.told()
    );
    let reported = seen.report["skipped_files"].to_string().len();
    ensure!(reported < 64 * 1024, "{reported} bytes of skipped files");
    Ok(())
}

fn run_things(bench: &Bench) -> Result<()> {
    let seen = bench.program("run_things.py").go()?;
    seen.exited(0)?;
    for name in ["run in /workspace", "run in /tmp", "script", "memory file"] {
        seen.reached(name)?;
    }
    // A setuid bit of its own gives nobody's power.
    for name in ["run in /workspace", "run in /tmp", "memory file"] {
        ensure!(
            seen.lines("REACHED", name) == ["'10001'"],
            "{name}{}",
            seen.told()
        );
    }
    for (name, word) in [
        ("run in /dev/shm", "EACCES"),
        ("chain of eight", "ELOOP"),
        ("long first line", "ENOEXEC"),
        ("missing interpreter", "ENOENT"),
        ("itself as interpreter", "ELOOP"),
        ("broken ELF", "ENOEXEC"),
        ("directory", "EACCES"),
        ("not executable", "EACCES"),
        ("long argument", "E2BIG"),
        ("many arguments", "E2BIG"),
    ] {
        seen.refused(name, &[word])?;
    }
    Ok(())
}
