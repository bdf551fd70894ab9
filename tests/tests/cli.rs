//! What a person at a shell sees: raw output as it comes, exit codes, messages that say what to do.

use anyhow::{Context, Result, ensure};
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, Done};
use brig_tests::skip::Skip;
use brig_tests::stage::{Stage, source};
use brig_tests::suite::{run, trial};
use std::process::ExitCode;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for privilege in [Privilege::Root, Privilege::Bare] {
        let mode = Mode::jail(privilege, Reach::Embedded);
        let case = |title: &str, body: fn(&Shell) -> Result<()>| {
            trial(format!("{title} [{}]", mode.name()), move || {
                mode.available()?;
                body(&Shell {
                    mode,
                    stage: Stage::set_up()?,
                })
            })
        };
        trials.push(case("the example of the README runs", example));
        trials.push(case("output comes raw and apart", raw_output));
        trials.push(case(
            "exit codes are the program's or the documented ones",
            exit_codes,
        ));
        trials.push(case(
            "a program comes from a file, a line, stdin or a command",
            four_ways,
        ));
        trials.push(case("mistakes on the command line are usage errors", usage));
        trials.push(case("an unreachable daemon is said so", unreachable));
        trials.push(case("doctor shows every layer", doctor));
        trials.push(case("a job runs under nice, too", under_nice));
        trials.push(case(
            "without the feature no layer can be turned off",
            no_control_arms,
        ));
    }
    run(trials)
}

struct Shell {
    mode: Mode,
    stage: Stage,
}

impl Shell {
    fn brig(&self, arguments: &[&str], stdin: &str) -> Result<Done> {
        let directory = self.stage.directory(self.mode)?;
        let mut command = self.mode.command(&self.stage.brig);
        command
            .args(arguments)
            .current_dir(directory.path())
            .env("HOME", directory.path());
        command.env("XDG_RUNTIME_DIR", directory.path());
        process::run(command, stdin.as_bytes().to_vec(), PATIENCE)
    }
}

fn texts(done: &Done) -> (String, String) {
    (
        String::from_utf8_lossy(&done.stdout).into_owned(),
        String::from_utf8_lossy(&done.stderr).into_owned(),
    )
}

fn example(shell: &Shell) -> Result<()> {
    let path = shell.stage.path("hello.py");
    std::fs::copy(source("../examples/hello.py"), &path)?;
    let done = shell.brig(&["run", &path.display().to_string()], "")?;
    let (stdout, stderr) = texts(&done);
    ensure!(done.code() == 0, "exit {}: {stdout}{stderr}", done.code());
    ensure!(
        stdout.contains("Hello from Python") && !stdout.contains("should not have"),
        "{stdout}"
    );
    if shell.mode.privilege == Privilege::Bare {
        ensure!(
            stderr.contains("workstation"),
            "it does not say what is missing: {stderr:?}"
        );
        ensure!(stderr.lines().count() <= 2, "it says too much: {stderr}");
    }
    Ok(())
}

fn raw_output(shell: &Shell) -> Result<()> {
    let code = "import os, sys; os.write(1, bytes(range(256))); sys.stderr.write('to stderr\\n')";
    let done = shell.brig(&["run", "-c", code], "")?;
    let (_, stderr) = texts(&done);
    ensure!(
        done.stdout == (0..=255).collect::<Vec<u8>>(),
        "stdout is not what was written: {:?}",
        done.stdout
    );
    ensure!(stderr.contains("to stderr\n"), "stderr: {stderr:?}");
    Ok(())
}

fn exit_codes(shell: &Shell) -> Result<()> {
    let cases: [(&[&str], i32); 8] = [
        (&["run", "-c", "pass"], 0),
        (&["run", "-c", "import sys; sys.exit(42)"], 42),
        (&["run", "-c", "raise SystemExit('words')"], 1),
        (&["run", "--timeout", "500ms", "-c", "while True: pass"], 124),
        (&["run", "-c", "import os; os.kill(os.getpid(), 15)"], 143),
        (&["run", "-c", "import os; os.abort()"], 134),
        (&["run", "--", "no-such-program"], 127),
        (&["run", "--", "/etc/passwd"], 126),
    ];
    for (arguments, expected) in cases {
        let done = shell.brig(arguments, "")?;
        ensure!(
            done.code() == expected,
            "{arguments:?}: exit {} instead of {expected}: {:?}",
            done.code(),
            texts(&done)
        );
    }
    Ok(())
}

fn four_ways(shell: &Shell) -> Result<()> {
    let path = shell.stage.path("way.py");
    std::fs::write(&path, "import sys; print('way', sys.argv[1:])")?;
    let path = path.display().to_string();
    let cases: [(&[&str], &str, &str); 4] = [
        (&["run", &path, "a", "-b"], "", "way ['a', '-b']\n"),
        (&["run", "-c", "print('way')"], "", "way\n"),
        (&["run", "-"], "print('way')", "way\n"),
        (&["run", "--", "echo", "way"], "", "way\n"),
    ];
    for (arguments, stdin, expected) in cases {
        let done = shell.brig(arguments, stdin)?;
        let (stdout, stderr) = texts(&done);
        ensure!(
            done.code() == 0 && stdout == expected,
            "{arguments:?}: exit {}: {stdout:?} {stderr:?}",
            done.code()
        );
    }
    Ok(())
}

fn usage(shell: &Shell) -> Result<()> {
    let cases: [&[&str]; 6] = [
        &["run"],
        &["run", "--no-such-flag", "-c", "pass"],
        &["run", "--memory", "a lot", "-c", "pass"],
        &["run", "--timeout", "-1s", "-c", "pass"],
        &["run", "--pids", "0", "-c", "pass"],
        &["no-such-command"],
    ];
    for arguments in cases {
        let done = shell.brig(arguments, "")?;
        let (stdout, stderr) = texts(&done);
        ensure!(done.code() == 2, "{arguments:?}: exit {}: {stderr}", done.code());
        ensure!(
            stdout.is_empty() && !stderr.is_empty(),
            "{arguments:?}: {stdout:?} {stderr:?}"
        );
    }
    let missing = shell.brig(&["run", "/no/such/file.py"], "")?;
    let (_, stderr) = texts(&missing);
    ensure!(
        [2, 125].contains(&missing.code()) && stderr.contains("/no/such/file.py"),
        "{}: {stderr}",
        missing.code()
    );
    Ok(())
}

fn unreachable(shell: &Shell) -> Result<()> {
    let done = shell.brig(&["run", "--address", "unix:/no/such/brig.sock", "-c", "pass"], "")?;
    let (_, stderr) = texts(&done);
    ensure!(
        done.code() == 125 && stderr.contains("/no/such/brig.sock"),
        "{}: {stderr}",
        done.code()
    );
    ensure!(
        stderr.contains("brig serve"),
        "it does not say what to do: {stderr}"
    );
    Ok(())
}

fn doctor(shell: &Shell) -> Result<()> {
    let done = shell.brig(&["doctor", "--json"], "")?;
    let (stdout, stderr) = texts(&done);
    let report: serde_json::Value = serde_json::from_str(&stdout)
        .map_err(|error| anyhow::anyhow!("no object ({error}): {stdout:?} {stderr:?}"))?;
    let told = report.to_string();
    for layer in ["namespaces", "seccomp", "landlock", "cgroup", "uid"] {
        ensure!(told.contains(layer), "no word on {layer}: {told}");
    }
    let people = shell.brig(&["doctor"], "")?;
    ensure!(
        people.code() == done.code(),
        "exit {} with --json, {} without",
        done.code(),
        people.code()
    );
    let (for_people, _) = texts(&people);
    for text in [&for_people, &told] {
        let count = allowed_calls(text).with_context(|| format!("no count of calls: {text}"))?;
        ensure!((120..=160).contains(&count), "{count} calls are allowed: {text}");
    }
    if shell.mode.privilege == Privilege::Root {
        ensure!(done.code() == 0, "exit {}: {told}", done.code());
    }
    Ok(())
}

/// How many system calls a report says are allowed.
fn allowed_calls(text: &str) -> Option<u32> {
    let (before, _) = text.split_once(" calls allowed")?;
    before
        .rsplit(|letter: char| !letter.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// The shipped program must refuse every attempt to turn a layer off.
/// An ordinary user may not raise what was put into a lower class.
fn under_nice(shell: &Shell) -> Result<()> {
    let directory = shell.stage.directory(shell.mode)?;
    let mut command = shell.mode.command(std::path::Path::new("/usr/bin/nice"));
    command.args(["-n", "5"]).arg(&shell.stage.brig);
    command
        .args(["run", "--embedded", "-c", "print(6 * 7)"])
        .current_dir(directory.path())
        .env("HOME", directory.path());
    let done = process::run(command, Vec::new(), PATIENCE)?;
    let (stdout, stderr) = texts(&done);
    ensure!(done.code() == 0 && stdout == "42\n", "{stdout}{stderr}");
    Ok(())
}

fn no_control_arms(shell: &Shell) -> Result<()> {
    let directory = shell.stage.directory(shell.mode)?;
    let mut command = shell.mode.command(&shell.stage.brig);
    command
        .args(["run", "--json", "--", "cat", "/proc/self/status"])
        .current_dir(directory.path());
    command
        .env("HOME", directory.path())
        .env("BRIG_CONTROL_ARM", "seccomp");
    let done = process::run(command, Vec::new(), PATIENCE)?;
    let (stdout, _) = texts(&done);
    ensure!(
        done.code() != 0 || stdout.contains("Seccomp:\\t2"),
        "it ran without its filter: {stdout}"
    );
    ensure!(
        !stdout.is_empty() || done.code() != 0,
        Skip::because("it printed nothing")
    );
    Ok(())
}
