//! Ordinary programs do in a cell exactly what they do outside: same output, same errors, same exit code.

use anyhow::{Context, Result, ensure};
use brig_tests::cell::Bench;
use brig_tests::modes::{Mode, has_program};
use brig_tests::process;
use brig_tests::skip::Skip;
use brig_tests::stage::{Stage, state};
use brig_tests::suite::{run, trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// One program of `tests/programs/ordinary`.
#[derive(Debug, Clone, Copy)]
struct Ordinary {
    file: &'static str,
    title: &'static str,
    args: &'static [&'static str],
    stdin: &'static str,
    /// Fixtures placed beside it, and their names there.
    inputs: &'static [(&'static str, &'static str)],
    /// Files compared afterwards.
    outputs: &'static [&'static str],
    interpreter: Interpreter,
    /// Programs of the host without which it is skipped.
    needs: &'static [&'static str],
    /// Calls that are refused and whose refusal nobody notices; any other fails the test.
    harmless: &'static [&'static str],
}

/// What runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interpreter {
    /// The host's own, as `brig run` takes it.
    Host,
    /// That of a virtual environment with numpy, pandas and matplotlib, which the configuration names.
    Science,
}

const fn plain(file: &'static str, title: &'static str) -> Ordinary {
    Ordinary {
        file,
        title,
        args: &[],
        stdin: "",
        inputs: &[],
        outputs: &[],
        interpreter: Interpreter::Host,
        needs: &[],
        harmless: &[],
    }
}

const fn science(file: &'static str, title: &'static str) -> Ordinary {
    Ordinary {
        interpreter: Interpreter::Science,
        ..plain(file, title)
    }
}

/// Below this are programs that `tests/run` builds.
const BUILT: &str = "built/";

const MODULES: &[(&str, &str)] = &[
    ("modules/shapes.py", "shapes.py"),
    ("modules/package/__init__.py", "package/__init__.py"),
    ("modules/package/inner.py", "package/inner.py"),
    ("modules/package/tool.py", "package/tool.py"),
];

const PROGRAMS: &[Ordinary] = &[
    plain("threads.py", "threads, pools, timers and queues"),
    plain("processes.py", "multiprocessing by fork, spawn and forkserver"),
    plain("subprocesses.py", "subprocesses, pipelines and terminals"),
    plain("asynchronous.py", "asyncio with processes, signals and sockets"),
    plain("database.py", "sqlite3 with WAL and full-text search"),
    plain("archives.py", "archives and compression"),
    plain(
        "signal_handlers.py",
        "signal handlers, timers and waiting for signals",
    ),
    plain("big_output.py", "big output"),
    Ordinary {
        stdin: "Ann\n1\n2\n39\n",
        ..plain("lines_from_stdin.py", "stdin and input()")
    },
    Ordinary {
        inputs: &[("table.csv", "table.csv")],
        outputs: &["results/totals.json", "results/empty.bin", "results/noise.bin"],
        ..plain("files_in_and_out.py", "files in and out")
    },
    Ordinary {
        args: &["one", "-x", "--two"],
        inputs: MODULES,
        ..plain("several_modules.py", "several modules")
    },
    plain("raises.py", "a chained exception"),
    plain("syntax_error.py", "a syntax error"),
    plain("exits_with_seven.py", "an exit code and atexit"),
    plain("exits_with_words.py", "an exit with a message"),
    plain(
        "places_and_times.py",
        "locales, time zones and names that are not ASCII",
    ),
    plain("pickles.py", "pickles of classes of the main module"),
    plain("temporary_files.py", "temporary files, mappings, locks and FIFOs"),
    plain("standard_library.py", "a walk through the standard library"),
    plain("killed_by_term.py", "a program that a signal ends"),
    plain("shell_tools.sh", "a shell script with the usual tools"),
    Ordinary {
        needs: &["git"],
        ..plain("git.sh", "git: a repository, branches, clones and a push")
    },
    Ordinary {
        inputs: &[("small_server.py", "small_server.py")],
        needs: &["curl"],
        ..plain("curl.sh", "curl against a server on loopback")
    },
    Ordinary {
        needs: &["tar", "gzip", "xz"],
        ..plain("tar.sh", "tar with gzip and xz")
    },
    Ordinary {
        needs: &["make", "gcc", "perl", "awk"],
        ..plain("toolchain.sh", "make, gcc, perl, awk, bash and the usual tools")
    },
    Ordinary {
        inputs: &[("walk.mjs", "walk.mjs")],
        needs: &["node"],
        ..plain(
            "node.sh",
            "node: loopback, threads, children, files and cryptography",
        )
    },
    Ordinary {
        inputs: &[("built/walk", "walk")],
        // Asked at the start, to raise the limit of open files, which is at its most already.
        harmless: &["getrlimit"],
        ..plain("go.sh", "a Go program: goroutines, loopback, children and files")
    },
    science("linear_algebra.py", "numpy from a virtual environment"),
    science("kernel.py", "a Jupyter kernel over TCP and over unix sockets"),
    science(
        "packages.py",
        "a wheel built, an environment made, pip, pytest and 100 MiB written",
    ),
    science("blas_threads.py", "threads of BLAS within the default limits"),
    Ordinary {
        inputs: &[("table.csv", "table.csv")],
        outputs: &["joined.csv", "series.json"],
        ..science("data_frames.py", "pandas: csv, pickle and time zones")
    },
    Ordinary {
        outputs: &["plot.png", "plot.pdf", "plot.svg", "surface.png"],
        ..science("plots.py", "matplotlib: PNG, PDF, SVG and three dimensions")
    },
];

fn main() -> ExitCode {
    let stage = match Stage::set_up() {
        Ok(stage) => Arc::new(stage),
        Err(error) => return run(vec![trial("the programs can be staged", move || Err(error))]),
    };
    let mut trials = Vec::new();
    for mode in Mode::embedded() {
        for &ordinary in PROGRAMS {
            let stage = Arc::clone(&stage);
            trials.push(trial(
                format!("K {} [{}]", ordinary.title, mode.name()),
                move || {
                    mode.available()?;
                    let bench = Bench::set_up(stage, mode)?;
                    same_as_outside(&bench, ordinary)
                },
            ));
        }
    }
    run(trials)
}

/// What both ways of running are compared by.
#[derive(Debug, PartialEq, Eq)]
struct Result4 {
    stdout: String,
    stderr: String,
    code: i32,
    files: Vec<(String, Vec<u8>)>,
}

fn same_as_outside(bench: &Bench, ordinary: Ordinary) -> Result<()> {
    if let Some(missing) = ordinary.needs.iter().find(|name| !has_program(name)) {
        return Err(Skip::because(format!("{missing} is not installed")).into());
    }
    let absent = |&&(from, _): &&(&str, &str)| from.starts_with(BUILT) && !fixture(bench, from).exists();
    if let Some((from, _)) = ordinary.inputs.iter().find(absent) {
        return Err(Skip::because(format!("{from} is not there: tests/run builds it")).into());
    }
    let python = interpreter(ordinary)?;
    let expected = outside(bench, ordinary, &python)?;
    ensure!(
        expected.code != 127,
        "it does not run outside either: {expected:?}"
    );
    let found = inside(bench, ordinary)?;
    for (what, found, expected) in [
        ("stdout", &found.stdout, &expected.stdout),
        ("stderr", &found.stderr, &expected.stderr),
    ] {
        ensure!(
            found == expected,
            "{what} differs\n  inside  {found:?}\n  outside {expected:?}"
        );
    }
    ensure!(
        found.code == expected.code,
        "exit code {} inside, {} outside",
        found.code,
        expected.code
    );
    ensure!(found.files == expected.files, "the files differ");
    Ok(())
}

fn interpreter(ordinary: Ordinary) -> Result<PathBuf> {
    if ordinary.interpreter == Interpreter::Host {
        return Ok(PathBuf::from("/usr/bin/python3"));
    }
    let python = state()
        .map(|state| state.join("venv-science/bin/python3"))
        .filter(|python| python.exists());
    Ok(python.ok_or_else(|| Skip::because("no virtual environment venv-science: tests/run makes it"))?)
}

/// Another interpreter than the host's is named in a configuration.
fn configuration(directory: &Path, python: &Path) -> Result<String> {
    let path = directory.join("brig.toml");
    std::fs::write(
        &path,
        format!("[images.host]\npython = \"{}\"\n", python.display()),
    )?;
    Ok(path.display().to_string())
}

fn outside(bench: &Bench, ordinary: Ordinary, python: &Path) -> Result<Result4> {
    let directory = bench.stage.directory(bench.mode)?;
    let place = |from: &Path, to: &str| -> Result<()> {
        let target = directory.path().join(to);
        std::fs::create_dir_all(target.parent().context("a file has a directory")?)?;
        std::fs::copy(from, target)
            .map(drop)
            .with_context(|| format!("failed to place {to}"))
    };
    place(&program(bench, ordinary), ordinary.file)?;
    for (from, to) in ordinary.inputs {
        place(&fixture(bench, from), to)?;
    }
    let is_shell = ordinary.file.ends_with(".sh");
    let mut command = process::command(if is_shell { Path::new("/bin/sh") } else { python });
    // A shell script is run by its name, as in the cell; a Python file by its path, as the cell shows it.
    let path = if is_shell {
        PathBuf::from(ordinary.file)
    } else {
        directory.path().join(ordinary.file)
    };
    command
        .arg(path)
        .args(ordinary.args)
        .current_dir(directory.path());
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("HOME", directory.path());
    let done = process::run(
        command,
        ordinary.stdin.as_bytes().to_vec(),
        Duration::from_secs(60),
    )?;
    let here = directory.path().display().to_string();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&here, "/workspace");
    Ok(Result4 {
        stdout: text(&done.stdout),
        stderr: text(&done.stderr),
        code: done.code(),
        files: collected(directory.path(), ordinary)?,
    })
}

fn inside(bench: &Bench, ordinary: Ordinary) -> Result<Result4> {
    let collect = bench.stage.directory(bench.mode)?;
    let path = program(bench, ordinary).display().to_string();
    let mut run = if ordinary.file.ends_with(".sh") {
        bench.command(&["sh", ordinary.file]).options(&["--in", &path])
    } else {
        bench.file(&path)
    };
    for (from, to) in ordinary.inputs {
        run = run.options(&["--in", &format!("{}:{to}", fixture(bench, from).display())]);
    }
    for name in ordinary.outputs {
        run = run.options(&["--out", name]);
    }
    if !ordinary.outputs.is_empty() {
        run = run.options(&["--out-dir", &collect.path().display().to_string()]);
    }
    if !ordinary.stdin.is_empty() {
        run = run.stdin(ordinary.stdin.as_bytes());
    }
    let configured = bench.stage.directory(bench.mode)?;
    if ordinary.interpreter != Interpreter::Host {
        let file = configuration(configured.path(), &interpreter(ordinary)?)?;
        run = run.host_env("BRIG_CONFIG", &file);
    }
    let seen = run.args(ordinary.args).go()?;
    ensure!(
        seen.report["state"] == "finished",
        "it did not run{}",
        seen.told()
    );
    let harmless = |name: &String| ordinary.harmless.contains(&name.as_str());
    let refused: Vec<String> = seen
        .refused_calls()
        .into_iter()
        .filter(|name| !harmless(name))
        .collect();
    ensure!(refused.is_empty(), "refused calls {refused:?}{}", seen.told());
    Ok(Result4 {
        stdout: seen.stdout.clone(),
        stderr: seen.stderr.clone(),
        code: seen.code,
        files: collected(collect.path(), ordinary).with_context(|| seen.told())?,
    })
}

fn collected(directory: &Path, ordinary: Ordinary) -> Result<Vec<(String, Vec<u8>)>> {
    let read = |name: &&str| -> Result<(String, Vec<u8>)> {
        let content =
            std::fs::read(directory.join(name)).with_context(|| format!("{name} was not collected"))?;
        Ok(((*name).to_owned(), content))
    };
    ordinary.outputs.iter().map(read).collect()
}

fn program(bench: &Bench, ordinary: Ordinary) -> PathBuf {
    bench.stage.path("programs/ordinary").join(ordinary.file)
}

fn fixture(bench: &Bench, name: &str) -> PathBuf {
    if let (true, Some(state)) = (name.starts_with(BUILT), state()) {
        return state.join(name);
    }
    bench.stage.path("fixtures").join(name)
}
