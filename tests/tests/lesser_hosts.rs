//! Hosts that lack a layer: a required one that is missing refuses the job and says how to get it; one that the operator
//! named optional is told as missing in the receipt. `tests/vm/run` starts such hosts.

use anyhow::{Context, Result, ensure};
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, Done};
use brig_tests::record::landlock_abi;
use brig_tests::seen::Seen;
use brig_tests::skip::Skip;
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let trials = [(Privilege::Root, "root"), (Privilege::Subordinate, "subordinate")];
    let without_landlock = trials.into_iter().flat_map(|(privilege, name)| {
        [
            trial(
                format!("without Landlock level strict runs nothing and says what helps [{name}]"),
                move || landlock_is_required(privilege),
            ),
            trial(
                format!("without Landlock a job runs where the operator named it optional, and the receipt says so [{name}]"),
                move || landlock_is_optional(privilege),
            ),
        ]
    });
    let mut trials: Vec<_> = without_landlock.collect();
    trials.push(trial(
        "rights that this kernel's Landlock does not know are named in the receipt",
        unknown_rights,
    ));
    trials.push(trial(
        "where a user is handed only some controllers strict refuses and workstation says which",
        some_controllers,
    ));
    run(trials)
}

fn mode(privilege: Privilege, reach: Reach) -> Result<Mode> {
    let mode = Mode::jail(privilege, reach);
    mode.available()?;
    Ok(mode)
}

fn only_without_landlock() -> Result<()> {
    ensure!(
        landlock_abi()? < 2,
        Skip::because(
            "this kernel has Landlock: tried in the virtual machine, which is started once without"
        )
    );
    Ok(())
}

fn texts(done: &Done) -> String {
    format!(
        "exit {}: {}{}",
        done.code(),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    )
}

/// Runs `print(6 * 7)` at this level as the user of the mode.
fn run_at(stage: &Stage, mode: Mode, level: &str) -> Result<Done> {
    let directory = stage.directory(mode)?;
    let mut command = mode.command(&stage.brig);
    command.args([
        "run",
        "--embedded",
        "--json",
        "--isolation",
        level,
        "-c",
        "print(6 * 7)",
    ]);
    command
        .current_dir(directory.path())
        .env("HOME", directory.path())
        .env("TMPDIR", directory.path())
        .env("XDG_RUNTIME_DIR", directory.path());
    process::run(command, Vec::new(), PATIENCE)
}

fn landlock_is_required(privilege: Privilege) -> Result<()> {
    only_without_landlock()?;
    let mode = mode(privilege, Reach::Embedded)?;
    let stage = Stage::set_up()?;
    for level in ["strict", "workstation"] {
        let done = run_at(&stage, mode, level)?;
        let said = texts(&done);
        ensure!(done.code() == 125, "{level}: {said}");
        ensure!(!said.contains("42"), "it ran at {level}: {said}");
        for word in ["Landlock", "lsm=", "optional"] {
            ensure!(said.contains(word), "{level} does not say {word:?}: {said}");
        }
    }
    Ok(())
}

fn landlock_is_optional(privilege: Privilege) -> Result<()> {
    only_without_landlock()?;
    let mode = mode(privilege, Reach::Served)?;
    let stage = Arc::new(Stage::set_up()?);
    let mut daemon = Daemon::start_with(&stage, mode, "optional_layers = [\"landlock\"]\n")?;
    let client = daemon.client(&["run", "--json", "-c", "print(6 * 7)"]);
    let seen = Seen::from_run(&process::run(client, Vec::new(), PATIENCE)?)?;
    seen.exited(0)?.printed("42")?;
    let layer = seen.layer("landlock");
    ensure!(
        layer["state"] == "missing" && layer["detail"] == "not available in this kernel",
        "{layer}{}",
        seen.told()
    );
    ensure!(
        seen.report["receipt"]["level"] == "strict",
        "the other layers are still required{}",
        seen.told()
    );
    daemon.stop()
}

fn unknown_rights() -> Result<()> {
    let abi = landlock_abi()?;
    ensure!(
        abi >= 2,
        Skip::because("this kernel has no Landlock, or too old a one")
    );
    let privilege = if mode(Privilege::Root, Reach::Embedded).is_ok() {
        Privilege::Root
    } else {
        Privilege::Bare
    };
    let mode = Mode::jail(privilege, Reach::Embedded);
    let stage = Stage::set_up()?;
    let seen = Seen::from_run(&run_at(&stage, mode, mode.level())?)?;
    let layer = seen.layer("landlock");
    let detail = layer["detail"].as_str().context("no detail")?;
    ensure!(layer["state"] == "active", "{layer}");
    ensure!(
        detail.starts_with(&format!("ABI {}", abi.min(7))),
        "{abi}: {layer}"
    );
    let since = [
        (3, "truncate"),
        (5, "device ioctl"),
        (6, "abstract-socket scope"),
        (6, "signal scope"),
    ];
    for (first, right) in since {
        ensure!(
            detail.contains(right) == (abi < first),
            "ABI {abi} and the right {right}: {layer}"
        );
    }
    Ok(())
}

/// A service manager that hands down no `cpu`, as systemd does for the sessions of a user.
const SOME: &str = r#"u=$1; g=$2; shift 2; top=/sys/fs/cgroup
echo '+cpu +memory +pids' >$top/cgroup.subtree_control || exit 99
between=$top/brig-tests-lesser; own=$between/session
mkdir -p "$own" && echo '+memory +pids' >"$between/cgroup.subtree_control" || exit 99
chown "$u:$g" "$own" "$own/cgroup.procs" "$own/cgroup.threads" "$own/cgroup.subtree_control" || exit 99
echo $$ >"$own/cgroup.procs" || exit 99
exec setpriv --reuid "$u" --regid "$g" --clear-groups -- "$@""#;

fn some_controllers() -> Result<()> {
    let mode = mode(Privilege::Subordinate, Reach::Embedded)?;
    ensure!(
        mode.has_cgroup(),
        Skip::because("only control groups of version 2 can be handed down in part")
    );
    let stage = Stage::set_up()?;
    let user = mode.user().context("its user")?;
    let at = |level: &str| -> Result<Done> {
        let directory = stage.directory(mode)?;
        let mut command = process::command("sh");
        command.args(["-c", SOME, "sh"]);
        command.args([user.uid.to_string(), user.gid.to_string()]);
        command.arg(&stage.brig);
        command.args([
            "run",
            "--embedded",
            "--json",
            "--isolation",
            level,
            "-c",
            "print(6 * 7)",
        ]);
        command
            .current_dir(directory.path())
            .env("HOME", directory.path());
        let done = process::run(command, Vec::new(), PATIENCE)?;
        for group in ["session/keeper", "session", ""] {
            std::fs::remove_dir(format!("/sys/fs/cgroup/brig-tests-lesser/{group}")).ok();
        }
        ensure!(done.code() != 99, "the group could not be made: {}", texts(&done));
        Ok(done)
    };
    let strict = texts(&at("strict")?);
    ensure!(
        strict.starts_with("exit 125") && !strict.contains("42\\n"),
        "strict ran: {strict}"
    );
    ensure!(
        strict.contains("controller") && strict.contains("Delegate"),
        "it does not say what helps: {strict}"
    );
    let done = at("workstation")?;
    let seen = Seen::from_run(&done)?;
    seen.exited(0)?.printed("42")?;
    let layer = seen.layer("cgroup");
    ensure!(
        layer["state"] != "active",
        "it calls a part of the controllers whole: {layer}{}",
        seen.told()
    );
    ensure!(
        texts(&done).contains("missing here") && texts(&done).contains("cgroup"),
        "workstation does not say it in its line: {}",
        texts(&done)
    );
    Ok(())
}
