//! The same program gives the same verdict, value, exception, truncation and facts on every backend: every program of the
//! corpus, the ordinary ones, and small ones for every way to end. The jail on the host's own files is what the others are
//! compared with. The names of refused calls are left out: only the jail's listener tells them.

use anyhow::{Context, Result, ensure};
use brig_tests::cell::{Bench, Run};
use brig_tests::cells::Cells;
use brig_tests::exceptions;
use brig_tests::modes::Mode;
use brig_tests::skip::Skip;
use brig_tests::stage::{Stage, source};
use brig_tests::suite::{in_lane, is_long, run, tell_times, trial};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A program and how it is run.
#[derive(Debug, Clone)]
struct Program {
    /// As in the names of tests.
    name: String,
    what: What,
    args: Vec<String>,
    options: Vec<String>,
    stdin: Option<&'static str>,
    /// Whether its output is the same each time.
    output: Output,
}

#[derive(Debug, Clone)]
enum What {
    Code(&'static str),
    Corpus(String),
    Ordinary(String),
    Command(&'static [&'static str]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Same,
    Varies,
}

/// Small programs: every way to end, every form of a value and of an exception, output at its limits.
const CODES: &[(&str, &[&str], &str)] = &[
    ("a value", &[], "6 * 7"),
    ("a value that is None", &[], "print('nothing'); None"),
    ("a long value", &[], "'x' * 200000"),
    ("a value that is not ASCII", &[], "'käse ☃ \\ud800'"),
    (
        "a value whose repr raises",
        &[],
        "class A:\n    def __repr__(self): raise ValueError('no')\nA()",
    ),
    ("an exception", &[], "def f(): raise KeyError('missing')\nf()"),
    (
        "an exception with a cause",
        &[],
        "try:\n    1/0\nexcept Exception as e:\n    raise RuntimeError('outer') from e",
    ),
    (
        "a group of exceptions",
        &[],
        "raise ExceptionGroup('two', [ValueError(1), TypeError(2)])",
    ),
    (
        "an exception of its own class",
        &[],
        "class Mine(Exception): pass\nraise Mine('words', 3)",
    ),
    ("a long message", &[], "raise ValueError('y' * 100000)"),
    ("a deep recursion", &[], "def f(n): return f(n + 1)\nf(0)"),
    ("a syntax error", &[], "def f(:\n    pass"),
    ("a module that is not there", &[], "import no_such_module"),
    ("an exit", &[], "import sys; print('out'); sys.exit(3)"),
    ("an exit with words", &[], "import sys; sys.exit('words')"),
    (
        "an exit without cleaning up",
        &[],
        "import os; print('lost'); os._exit(4)",
    ),
    ("an exit code above 255", &[], "import sys; sys.exit(300)"),
    ("a keyboard interrupt", &[], "raise KeyboardInterrupt"),
    (
        "a signal of its own",
        &[],
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    ),
    (
        "SIGKILL of its own",
        &[],
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    ),
    ("a fault of memory", &[], "import ctypes; ctypes.string_at(0)"),
    ("an abort", &[], "import os; os.abort()"),
    (
        "a signal of real time",
        &[],
        "import os; os.kill(os.getpid(), 40)",
    ),
    (
        "a busy loop at its limit",
        &["--timeout", "1s"],
        "print('begun', flush=True)\nwhile True: pass",
    ),
    (
        "a sleeper at its limit",
        &["--timeout", "1s"],
        "import time; time.sleep(60)",
    ),
    ("CPU time at its limit", &["--cpu-time", "1s"], "while True: pass"),
    (
        "too much memory",
        &["--memory", "160MiB", "--workspace", "8MiB"],
        "x = []\nwhile True: x.append(bytearray(1 << 22))",
    ),
    (
        "too much output",
        &["--output-limit", "256KiB"],
        "while True: print('z' * 1000)",
    ),
    (
        "output that is cut",
        &["--output-kept", "64KiB"],
        "for n in range(20000): print(n)",
    ),
    (
        "a child that is left",
        &[],
        "import subprocess; subprocess.Popen(['sleep', '600']); print('gone')",
    ),
    (
        "a child that is killed",
        &[],
        "import subprocess; print(subprocess.run(['sh', '-c', 'kill -9 $$']).returncode)",
    ),
    (
        "a file too large",
        &["--workspace", "16MiB"],
        "open('f', 'wb').write(b'x' * (32 << 20))",
    ),
    (
        "output without an end of line",
        &[],
        "import sys; sys.stdout.write('no end'); sys.stderr.write('none')",
    ),
    (
        "bytes that are no text",
        &[],
        "import os; os.write(1, bytes(range(256)))",
    ),
    (
        "a thread that raises",
        &[],
        "import threading; t = threading.Thread(target=lambda: 1/0); t.start(); t.join(); print('goes on')",
    ),
    (
        "an exit handler that raises",
        &[],
        "import atexit; atexit.register(lambda: 1/0); print('main')",
    ),
    ("nothing", &[], ""),
];

/// Arguments and options of the programs of the corpus that need some; those with none of both run as they are.
const ARGUMENTS: &[(&str, &[&str], &[&str])] = &[
    ("all_signals.py", &["1"], &[]),
    ("burn_for.py", &["1"], &[]),
    ("burn_in_processes.py", &[], &["--cpu-time", "1s"]),
    ("busy_loop.py", &[], &["--timeout", "1s"]),
    (
        "child_out_of_memory.py",
        &["400"],
        &["--memory", "160MiB", "--workspace", "8MiB"],
    ),
    ("directory_escape.py", &["/etc/shadow"], &[]),
    ("dump_environment.py", &["yranac"], &[]),
    ("exact_processes.py", &["processes"], &["--pids", "16"]),
    ("fill_inodes.py", &["20000"], &[]),
    ("fill_workspace.py", &["64"], &["--workspace", "32MiB"]),
    ("flood_both.py", &["3"], &[]),
    ("flood_stdout.py", &["lines"], &[]),
    ("fork_bomb.py", &[], &["--pids", "32"]),
    ("grow_file.py", &["64"], &["--workspace", "32MiB"]),
    ("ignore_signals.py", &[], &["--timeout", "1s"]),
    ("lie_as_runner.py", &["giants"], &[]),
    ("loopback_server.py", &["0.1"], &[]),
    (
        "memory_hog.py",
        &["400"],
        &["--memory", "160MiB", "--workspace", "8MiB"],
    ),
    ("memory_hold.py", &["50", "0"], &[]),
    (
        "memory_ways.py",
        &["memfd", "300"],
        &["--memory", "160MiB", "--workspace", "8MiB"],
    ),
    ("odd_ends.py", &["become another"], &[]),
    ("private_copy.py", &["/etc/passwd"], &[]),
    ("read_init.py", &["1"], &[]),
    ("refusal_storm.py", &["1000"], &[]),
    ("sleep_forever.py", &[], &["--timeout", "1s"]),
    ("leave_child.py", &["600.77"], &[]),
    ("run_past_deadline.py", &["600.78"], &["--timeout", "1s"]),
    ("reach_host_services.py", &["1", "/no/such", "no-such"], &[]),
    ("shared_names.py", &["no-such-name", "find"], &[]),
    ("signal_everyone.py", &["999999", "inside"], &[]),
    ("trace_others.py", &["999999", "inside"], &[]),
    ("other_workspace.py", &["999999", "inside"], &[]),
    ("see_processes.py", &["no-such-marker", "999999"], &[]),
    (
        "outlive_at_the_brim.py",
        &["600.1", "192", "3"],
        &["--timeout", "2s", "--memory", "256MiB", "--workspace", "64MiB"],
    ),
    ("outlive_by_demoting.py", &["600.1"], &["--timeout", "2s"]),
    ("outlive_by_everything.py", &["600.1"], &["--timeout", "2s"]),
    (
        "outlive_by_forking.py",
        &["600.1", "fork", "16"],
        &["--timeout", "2s"],
    ),
    (
        "outlive_by_spinning.py",
        &["600.1", "processes"],
        &["--timeout", "2s"],
    ),
    ("outlive_by_stopping.py", &["600.1", "all"], &["--timeout", "2s"]),
    ("outlive_in_a_tree.py", &["600.1"], &["--timeout", "2s"]),
    ("outlive_in_waits.py", &["600.1"], &["--timeout", "2s"]),
    ("outlive_as_zombies.py", &["600.1"], &["--timeout", "2s"]),
    ("outlive_with_handles.py", &["600.1"], &["--timeout", "2s"]),
];

/// Not asked here: their verdict is the harness's doing, or another suite's.
const NOT_ASKED: &[&str] = &[
    "verdicts.py",
    // Stand still until somebody outside has looked at them.
    "posture.py",
    "queue_descriptors.py",
    // Only for a machine that may be harmed.
    "harm_machine.py",
    // How far they get depends on the pace of the machine.
    "outlive_while_flooding.py",
    "outlive_with_files.py",
    "outlive_with_mappings.py",
    "orphan_storm.py",
];

/// Ordinary programs that need fixtures or a virtual environment: the suite `ordinary` has them.
const NEED_FIXTURES: &[&str] = &[
    "files_in_and_out.py",
    "several_modules.py",
    "data_frames.py",
    "plots.py",
    "linear_algebra.py",
    "blas_threads.py",
    "kernel.py",
    "packages.py",
];

fn programs() -> Result<Vec<Program>> {
    let plain = |name: &str, what: What| Program {
        name: name.to_owned(),
        what,
        args: Vec::new(),
        options: Vec::new(),
        stdin: None,
        output: Output::Same,
    };
    let strings = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
    let mut all = Vec::new();
    for (name, options, code) in CODES {
        let mut program = plain(name, What::Code(code));
        program.options = strings(options);
        all.push(program);
    }
    all.push(plain(
        "a command",
        What::Command(&["sh", "-c", "echo out; echo err >&2; exit 9"]),
    ));
    all.push(plain(
        "a command that is not there",
        What::Command(&["no-such-command"]),
    ));
    all.push(plain(
        "a command that is no program",
        What::Command(&["/etc/passwd"]),
    ));
    for file in files("programs")? {
        if NOT_ASKED.contains(&file.as_str()) {
            continue;
        }
        let known = ARGUMENTS.iter().find(|(name, ..)| *name == file);
        let (args, options) = known.map_or((&[][..], &[][..]), |(_, args, options)| (*args, *options));
        let mut program = plain(&file, What::Corpus(file.clone()));
        (program.args, program.options) = (strings(args), strings(options));
        program.output = Output::Varies;
        all.push(program);
    }
    for file in files("programs/ordinary")? {
        if NEED_FIXTURES.contains(&file.as_str()) {
            continue;
        }
        let mut program = plain(&format!("ordinary {file}"), What::Ordinary(file.clone()));
        program.stdin = (file == "lines_from_stdin.py").then_some("Ann\n1\n2\n39\n");
        all.push(program);
    }
    Ok(all)
}

fn files(directory: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(source(directory))?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".py"))
        .collect();
    names.sort();
    Ok(names)
}

/// Set up by the first that needs it.
type Shared<T> = Arc<OnceLock<Result<T, String>>>;

fn shared<T>(cell: &Shared<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    let made = cell.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn main() -> ExitCode {
    let (stage, programs) = match Stage::set_up().and_then(|stage| Ok((Arc::new(stage), programs()?))) {
        Ok(ready) => ready,
        Err(error) => return run(vec![trial("the programs can be staged", move || Err(error))]),
    };
    let references: Vec<Shared<Value>> = programs.iter().map(|_| Shared::default()).collect();
    let jail = Shared::<Bench>::default();
    let mut trials: Vec<Trial> = vec![trial(
        "the report of another program differs",
        differs(&stage, &jail),
    )];
    for mode in Mode::OTHER_CELLS {
        let bench = Shared::<Bench>::default();
        for (program, reference) in programs.iter().zip(&references) {
            let (program, reference) = (program.clone(), Arc::clone(reference));
            let (stage, jail, bench) = (Arc::clone(&stage), Arc::clone(&jail), Arc::clone(&bench));
            let name = format!("{} is the same [{}]", program.name, mode.name());
            trials.push(trial(name, move || {
                Mode::BACKENDS[0].available()?;
                mode.available()?;
                wanted_now(&program, mode)?;
                let jail = shared(&jail, || Bench::set_up(Arc::clone(&stage), Mode::BACKENDS[0]))?;
                let bench = shared(&bench, || Bench::set_up(Arc::clone(&stage), mode))?;
                let expected = shared(&reference, || in_lane("jail", || told(jail, &program)))?;
                let found = in_lane(mode.name(), || told(bench, &program))?;
                let outcome = compare(expected, &found);
                match exceptions::of(&format!("parity {}", program.name), mode.cells)? {
                    Some(exception) => exceptions::judge(exception, outcome),
                    None => outcome,
                }
            }));
        }
    }
    let code = run(trials);
    tell_times("parity");
    code
}

/// gVisor without a virtual machine takes its time: the small programs always, the rest in the long run.
fn wanted_now(program: &Program, mode: Mode) -> Result<(), Skip> {
    let small = matches!(program.what, What::Code(_) | What::Command(_));
    if mode.cells == Cells::Gvisor && !small && !is_long() {
        return Err(Skip::because(
            "slow under gVisor without a virtual machine: in the long run",
        ));
    }
    Ok(())
}

fn compare(expected: &Value, found: &Value) -> Result<()> {
    let all = expected.as_object().context("no object")?;
    let different: Vec<String> = all
        .iter()
        .filter(|(name, value)| found[name.as_str()] != **value)
        .map(|(name, value)| format!("{name}: {} instead of {value}", found[name.as_str()]))
        .collect();
    ensure!(different.is_empty(), "differs: {}", different.join("; "));
    Ok(())
}

fn start<'a>(bench: &'a Bench, program: &Program) -> Run<'a> {
    let run = match &program.what {
        What::Code(code) => bench.code(code),
        What::Corpus(file) => bench.program(file),
        What::Ordinary(file) => {
            let path = bench.stage.path("programs/ordinary").join(file);
            bench.file(&path.display().to_string())
        }
        What::Command(argv) => bench.command(argv),
    };
    let options: Vec<&str> = program.options.iter().map(String::as_str).collect();
    let args: Vec<&str> = program.args.iter().map(String::as_str).collect();
    let run = run.options(&options).args(&args);
    match program.stdin {
        Some(text) => run.stdin(text.as_bytes()),
        None => run,
    }
}

/// What a caller is told, without what differs from run to run.
fn told(bench: &Bench, program: &Program) -> Result<Value> {
    let seen = start(bench, program)
        .start()?
        .report_within(Duration::from_secs(120))?;
    let report = &seen.report;
    let flags = &report["flags"];
    let mut told = json!({
        "exit status": seen.code,
        "state": report["state"],
        "verdict": without_call(&report["verdict"]),
        "value": without_addresses(&report["value"]),
        "exception": exception(&report["exception"]),
        "truncated": report["truncated"],
        "truncated stdout": report["output"]["stdout"]["truncated"],
        "truncated stderr": report["output"]["stderr"]["truncated"],
        "process limit hit": flags["process_limit_hit"],
        "children out of memory": flags["children_out_of_memory"].as_u64() > Some(0),
        "leftovers killed": flags["leftover_processes_killed"].as_u64() > Some(0),
        "files": report["files"],
    });
    if program.output == Output::Same && report["truncated"] == false {
        told["stdout"] = json!(without_places(&seen.stdout));
    }
    Ok(told)
}

fn without_call(verdict: &Value) -> Value {
    let mut verdict = verdict.clone();
    verdict["call"] = Value::Null;
    verdict
}

/// Its name, its message, and the frames that are the program's own: the library's differ from one Python to the next.
fn exception(found: &Value) -> Value {
    if found.is_null() {
        return Value::Null;
    }
    let frames = found["frames"].as_array().into_iter().flatten();
    let own = |frame: &&Value| {
        let file = frame["file"].as_str().unwrap_or_default();
        file.starts_with("/workspace") || file.starts_with('<')
    };
    json!({
        "name": found["name"],
        "message": without_addresses(&found["message"]),
        "frames": frames.filter(own).cloned().collect::<Vec<_>>(),
    })
}

fn without_addresses(value: &Value) -> Value {
    value
        .as_str()
        .map_or_else(|| value.clone(), |text| json!(without_places(text)))
}

/// Addresses of objects are another each time.
fn without_places(text: &str) -> String {
    let mut parts = text.split("0x");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str("0x");
        clean.push_str(part.trim_start_matches(|one: char| one.is_ascii_hexdigit()));
    }
    clean
}

/// The counterpart of all of them: reports of programs that end in different ways are told apart.
fn differs(stage: &Arc<Stage>, jail: &Shared<Bench>) -> impl FnOnce() -> Result<()> + Send + 'static {
    let (stage, jail) = (Arc::clone(stage), Arc::clone(jail));
    move || {
        Mode::BACKENDS[0].available()?;
        let bench = shared(&jail, || Bench::set_up(stage, Mode::BACKENDS[0]))?;
        let all: Vec<Program> = programs()?;
        let of = |name: &str| -> Result<Value> {
            let program = all
                .iter()
                .find(|one| one.name == name)
                .context("no such program")?;
            told(bench, program)
        };
        for (one, other, field) in [
            ("a value", "a value that is None", "value"),
            ("an exception", "an exception with a cause", "exception"),
            ("an exit", "SIGKILL of its own", "verdict"),
            ("nothing", "output that is cut", "truncated stdout"),
            ("nothing", "a child that is left", "leftovers killed"),
        ] {
            let difference = compare(&of(one)?, &of(other)?);
            let said = difference
                .err()
                .map(|error| format!("{error:#}"))
                .unwrap_or_default();
            ensure!(
                said.contains(field),
                "{one} and {other} do not differ in {field}: {said}"
            );
        }
        Ok(())
    }
}
