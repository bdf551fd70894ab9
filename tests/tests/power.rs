//! Who has which power in a running service, seen from outside, in every mode: the keeper what it needs, the daemon none.

use anyhow::{Context, Result, ensure};
use brig_tests::assert::field;
use brig_tests::cell::Bench;
use brig_tests::daemon::Daemon;
use brig_tests::modes::{Mode, Privilege, Reach};
use brig_tests::process::{self, Decoy, wait_until};
use brig_tests::skip::Skip;
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use nix::unistd::Uid;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

const SYS_NICE: u64 = 1 << 23;
const DAC_OVERRIDE: u64 = 1 << 1;

/// A variable that an operator's shell may have. Nothing of Brig needs to know it.
const CANARY: &str = "OPERATORS_TOKEN";

type Body = fn(&Service) -> Result<()>;

const CHECKS: [(&str, Body); 8] = [
    (
        "the keeper has the capabilities that it needs and no other",
        keeper_capabilities,
    ),
    (
        "the keeper has given up what cannot be taken back",
        keeper_posture,
    ),
    (
        "no thread of the daemon has a capability or can get one",
        daemon_threads,
    ),
    (
        "the daemon holds its golden list of descriptors",
        daemon_descriptors,
    ),
    (
        "keeper and daemon get neither variables nor descriptors of the operator's shell",
        inheritance,
    ),
    (
        "nobody without the right to trace can look into keeper and daemon",
        not_dumpable,
    ),
    ("no cell can write to the program that runs next", program_of_init),
    (
        "replacing the program's file changes nothing for the next cell",
        replaced_file,
    ),
];

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for privilege in [Privilege::Root, Privilege::Subordinate, Privilege::Bare] {
        let mode = Mode::jail(privilege, Reach::Served);
        let shared = Arc::new(Mutex::new(None));
        for (title, body) in CHECKS {
            let shared = Arc::clone(&shared);
            trials.push(trial(format!("{title} [{}]", mode.name()), move || {
                let mut slot = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let service = match slot.take() {
                    Some(service) => service,
                    None => Service::start(mode)?,
                };
                let outcome = body(&service);
                // The last check's owner stops it.
                *slot = Some(service);
                outcome
            }));
        }
    }
    for (name, shows) in ARMS {
        trials.push(trial(
            format!("without {name}, {} [control arm]", shows.title),
            move || without(name, shows.body),
        ));
    }
    trials.push(trial(
        "the unit for systemd is valid and leaves newuidmap its right",
        unit_is_valid,
    ));
    run(trials)
}

/// A service that has run a job, and what its processes are.
struct Service {
    mode: Mode,
    stage: Arc<Stage>,
    daemon: Daemon,
    keeper: u32,
    inner: u32,
}

impl Service {
    fn start(mode: Mode) -> Result<Self> {
        if !Uid::effective().is_root() {
            return Err(Skip::because("looking from outside needs the tests to run as root").into());
        }
        mode.available()?;
        let stage = Arc::new(Stage::set_up()?);
        let level = mode.level();
        let daemon = Daemon::start_with(&stage, mode, &format!("isolation = \"{level}\"\n"))?;
        let service = Self {
            keeper: daemon.keeper()?,
            inner: daemon.daemon()?,
            mode,
            stage,
            daemon,
        };
        service.job()?;
        Ok(service)
    }

    fn job(&self) -> Result<()> {
        let command = self.daemon.client(&["run", "-c", "print(6 * 7)"]);
        let done = process::run(command, Vec::new(), PATIENCE)?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(said == "42\n", "{said}{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }
}

fn status(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("no {path}"))
}

fn mask(status: &str, name: &str) -> Result<u64> {
    let text = field(status, name).with_context(|| format!("no {name}"))?;
    Ok(u64::from_str_radix(text.trim(), 16)?)
}

/// Whether the keeper's groups lie where only the capability lets it make and remove them.
fn needs_override(keeper: u32) -> bool {
    let name = format!("-{keeper}");
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let own = entry.file_name().to_string_lossy().into_owned();
            if own.starts_with("brig-") && own.ends_with(&name) {
                let parent = directory.metadata();
                if parent.is_ok_and(|parent| parent.uid() != 0 || parent.mode() & 0o200 == 0) {
                    return true;
                }
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    false
}

fn keeper_capabilities(service: &Service) -> Result<()> {
    let status = status(&format!("/proc/{}/status", service.keeper))?;
    let wanted = match service.mode.privilege {
        Privilege::Root if needs_override(service.keeper) => SYS_NICE | DAC_OVERRIDE,
        Privilege::Root => SYS_NICE,
        Privilege::Subordinate | Privilege::Bare => 0,
    };
    for name in ["CapPrm:", "CapEff:"] {
        ensure!(mask(&status, name)? == wanted, "{status}");
    }
    for name in ["CapInh:", "CapAmb:"] {
        ensure!(mask(&status, name)? == 0, "{status}");
    }
    // An ordinary user cannot shrink it, and with no_new_privs it means nothing.
    if service.mode.privilege == Privilege::Root {
        ensure!(mask(&status, "CapBnd:")? == wanted, "{status}");
    }
    Ok(())
}

fn keeper_posture(service: &Service) -> Result<()> {
    let keeper = service.keeper;
    let status = status(&format!("/proc/{keeper}/status"))?;
    for (name, value) in [
        ("Threads:", "1"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
        ("Umask:", "0022"),
    ] {
        ensure!(
            field(&status, name).map(str::trim) == Some(value),
            "{name} is not {value}: {status}"
        );
    }
    let directory = std::fs::read_link(format!("/proc/{keeper}/cwd"))?;
    ensure!(directory == Path::new("/"), "{}", directory.display());
    let found = descriptors(keeper)?;
    let once = ["memfd:brig-jail-init", "epoll", "signalfd", "timerfd"];
    for kind in once {
        ensure!(found.get(kind) == Some(&1), "not one {kind}: {found:?}");
    }
    let known = [
        "memfd:brig-jail-init",
        "epoll",
        "signalfd",
        "timerfd",
        "socket",
        "pipe",
        "null",
        "user namespace",
        "pidfd",
        "seccomp",
        "directory",
    ];
    let foreign: Vec<&String> = found
        .keys()
        .filter(|kind| !known.contains(&kind.as_str()))
        .collect();
    ensure!(foreign.is_empty(), "the keeper holds {foreign:?}");
    Ok(())
}

fn daemon_threads(service: &Service) -> Result<()> {
    let threads: Vec<PathBuf> = std::fs::read_dir(format!("/proc/{}/task", service.inner))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    ensure!(threads.len() > 1, "a daemon with one thread");
    for thread in threads {
        let status = status(&thread.join("status").display().to_string())?;
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            ensure!(mask(&status, name)? == 0, "{name} {status}");
        }
        if service.mode.privilege == Privilege::Root {
            ensure!(mask(&status, "CapBnd:")? == 0, "{status}");
        }
        for (name, value) in [("NoNewPrivs:", "1"), ("Seccomp:", "2"), ("Seccomp_filters:", "3")] {
            ensure!(
                field(&status, name).map(str::trim) == Some(value),
                "{name} is not {value}: {status}"
            );
        }
    }
    Ok(())
}

/// Descriptors of a process, counted by kind.
fn descriptors(pid: u32) -> Result<BTreeMap<String, u32>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let Ok(link) = std::fs::read_link(entry.path()) else {
            continue;
        };
        *found
            .entry(kind_of(&link.to_string_lossy(), &entry.path()))
            .or_default() += 1;
    }
    Ok(found)
}

fn kind_of(link: &str, path: &Path) -> String {
    let plain = [
        ("socket:", "socket"),
        ("pipe:", "pipe"),
        ("anon_inode:[eventpoll]", "epoll"),
        ("anon_inode:[eventfd]", "eventfd"),
        ("anon_inode:[signalfd]", "signalfd"),
        ("anon_inode:[timerfd]", "timerfd"),
        ("anon_inode:[pidfd]", "pidfd"),
        ("pidfd:", "pidfd"),
        ("anon_inode:seccomp notify", "seccomp"),
        ("user:", "user namespace"),
        ("/memfd:brig-jail-init", "memfd:brig-jail-init"),
        ("/dev/null", "null"),
        ("/dev/urandom", "randomness"),
    ];
    if let Some((_, kind)) = plain.iter().find(|(start, _)| link.starts_with(start)) {
        return (*kind).to_owned();
    }
    let file_name = Path::new(link).file_name().unwrap_or_default().to_string_lossy();
    if file_name.starts_with("brig.db") || file_name.starts_with("brig.lock") {
        return "store".to_owned();
    }
    // The workspace of a cell, in a mount namespace of its own.
    if std::fs::metadata(path).is_ok_and(|found| found.is_dir()) {
        return "directory".to_owned();
    }
    link.to_owned()
}

fn daemon_descriptors(service: &Service) -> Result<()> {
    // The client's connection and the ends of its cell go away a moment after the job.
    let mut found = BTreeMap::new();
    let known = [
        "socket",
        "pipe",
        "epoll",
        "eventfd",
        "null",
        "store",
        "randomness",
    ];
    let calm = wait_until(Duration::from_secs(10), || {
        found = descriptors(service.inner).unwrap_or_default();
        // The listener, the keeper, and the pair that carries signals (tokio keeps a copy of its reading end).
        found.get("socket").is_some_and(|count| *count <= 5)
            && found.get("pipe").is_none_or(|count| *count <= 2)
    });
    ensure!(calm, "an idle daemon holds {found:?}");
    let foreign: Vec<&String> = found
        .keys()
        .filter(|kind| !known.contains(&kind.as_str()))
        .collect();
    ensure!(foreign.is_empty(), "the daemon holds {foreign:?}");
    Ok(())
}

fn inheritance(service: &Service) -> Result<()> {
    let socket = service.daemon.directory().join("canary.sock");
    let data = service.daemon.directory().join("canary");
    let mut command = service.mode.command(&service.stage.brig);
    let directory = service.daemon.directory();
    command
        .arg("serve")
        .arg("--config")
        .arg(directory.join("brig.toml"));
    command.arg("--listen").arg(format!("unix:{}", socket.display()));
    command
        .arg("--data")
        .arg(&data)
        .env("HOME", directory)
        .env(CANARY, "hunter2");
    let running = process::start(command, Vec::new())?;
    let keeper = running.pid();
    let child = || {
        let listed = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
        listed.split_whitespace().find_map(|pid| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            String::from_utf8_lossy(&arguments)
                .contains("__daemon")
                .then(|| pid.to_owned())
        })
    };
    let mut inner = None;
    wait_until(Duration::from_secs(20), || {
        inner = child();
        inner.is_some() && socket.exists()
    });
    let names = |pid: &str| -> Result<Vec<String>> {
        let text = String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/environ"))?).into_owned();
        let entries = text.split('\0').filter(|entry| !entry.is_empty());
        Ok(entries
            .map(|entry| entry.split('=').next().unwrap_or_default().to_owned())
            .collect())
    };
    let outcome = inner.context("no daemon").and_then(|inner| {
        // The control arm: who was started with it has it.
        ensure!(
            names(&keeper.to_string())?.iter().any(|name| name == CANARY),
            "no canary was planted"
        );
        let mut found = names(&inner)?;
        found.sort();
        // PWD and such come from the shell that was put between.
        found.retain(|name| !["OLDPWD", "PWD", "SHLVL", "_"].contains(&name.as_str()));
        ensure!(found == ["HOME", "LANG", "PATH"], "the daemon knows {found:?}");
        for pid in [keeper.to_string(), inner] {
            let held = descriptors(pid.parse()?)?;
            ensure!(!held.contains_key("/etc/passwd"), "process {pid} holds {held:?}");
        }
        Ok(())
    });
    running.signal(nix::sys::signal::Signal::SIGTERM).ok();
    let done = running.finish(Duration::from_secs(30))?;
    outcome.with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())
}

/// Reads the environment of a process as its own user without any capability, as a taken-over daemon might.
fn can_look_into(mode: Mode, pid: &str) -> Result<bool> {
    let mut command = process::command("setpriv");
    if let Some(user) = mode.user() {
        command.args([
            "--reuid",
            &user.uid.to_string(),
            "--regid",
            &user.gid.to_string(),
            "--clear-groups",
        ]);
    }
    command.args(["--inh-caps=-all", "--bounding-set=-all", "--", "cat"]);
    command.arg(format!("/proc/{pid}/environ"));
    Ok(process::run(command, Vec::new(), PATIENCE)?.code() == 0)
}

fn not_dumpable(service: &Service) -> Result<()> {
    let mode = service.mode;
    // The control arm: an ordinary process of the same user, as poor as a daemon.
    let mut command = process::command("setpriv");
    if let Some(user) = mode.user() {
        command.args([
            "--reuid",
            &user.uid.to_string(),
            "--regid",
            &user.gid.to_string(),
            "--clear-groups",
        ]);
    }
    command.args(["--inh-caps=-all", "--bounding-set=-all", "--", "sleep", "600"]);
    let decoy = Decoy::start(command)?;
    let open = wait_until(Duration::from_secs(5), || {
        can_look_into(mode, &decoy.pid()).unwrap_or(false)
    });
    ensure!(
        open,
        "the control arm cannot look into a process of the same user"
    );
    for pid in [service.keeper, service.inner] {
        ensure!(
            !can_look_into(mode, &pid.to_string())?,
            "process {pid} is open to its user"
        );
    }
    Ok(())
}

/// Every way by which a program could reach the file that it, its PID 1 or the enter-helper was started from.
const WRITE_PROGRAMS: &str = "
import glob, os
ways = ['/proc/self/exe', '/proc/1/exe', '/proc/thread-self/exe'] + glob.glob('/proc/*/exe') + glob.glob('/proc/*/fd/*')
for number in range(1, 40):
    ways.append(f'/proc/{number}/exe')
reached = set()
for way in ways:
    try:
        target = os.readlink(way)
        os.close(os.open(way, os.O_RDWR))
        if 'memfd' in target or 'brig' in target or way.endswith('exe'):
            reached.add(target)
    except OSError:
        pass
print(len(ways) > 40, sorted(reached))
";

fn program_of_init(service: &Service) -> Result<()> {
    let command = service.daemon.client(&["run", "-c", WRITE_PROGRAMS]);
    let done = process::run(command, Vec::new(), PATIENCE)?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(said == "True []\n", "{}", told(&done));
    Ok(())
}

fn replaced_file(service: &Service) -> Result<()> {
    let brig = &service.stage.brig;
    let kept = brig.with_extension("kept");
    std::fs::copy(brig, &kept)?;
    let hostile = brig.with_extension("hostile");
    std::fs::write(&hostile, "#!/bin/sh\nexit 99\n")?;
    std::fs::set_permissions(&hostile, std::fs::metadata(brig)?.permissions())?;
    std::fs::rename(&hostile, brig)?;
    for _ in 0..3 {
        let mut command = service.mode.command(&kept);
        command
            .args(["run", "-c", "print(6 * 7)"])
            .env("BRIG_ADDRESS", service.daemon.address());
        let done = process::run(command, Vec::new(), PATIENCE)?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(said == "42\n", "{said}{}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}

/// What shows that a capability is missing.
#[derive(Clone, Copy)]
struct Shows {
    title: &'static str,
    body: fn(&process::Done) -> Result<()>,
}

const ARMS: [(&str, Shows); 4] = [
    (
        "SYS_NICE",
        Shows {
            title: "PID 1 is not in a raised class",
            body: |done| {
                let said = told(done);
                ensure!(
                    said.contains("in the default class") && done.code() == 0,
                    "{said}"
                );
                Ok(())
            },
        },
    ),
    (
        "DAC_OVERRIDE",
        Shows {
            title: "there are no control groups",
            body: |done| fails_in("cgroup", done),
        },
    ),
    (
        "SETUID",
        Shows {
            title: "no id can be mapped",
            body: |done| fails_in("id_map", done),
        },
    ),
    (
        "SETGID",
        Shows {
            title: "no group id can be mapped",
            body: |done| fails_in("id_map", done),
        },
    ),
];

fn told(done: &process::Done) -> String {
    format!(
        "{}: {}{}",
        done.code(),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    )
}

fn fails_in(stage: &str, done: &process::Done) -> Result<()> {
    let said = told(done);
    ensure!(
        done.code() == 125 && said.contains(&format!("could not be set up: {stage}")),
        "{said}"
    );
    Ok(())
}

/// Runs a job with a keeper that lacks one capability, and one with a whole keeper beside it.
fn without(name: &str, shows: fn(&process::Done) -> Result<()>) -> Result<()> {
    let mode = Mode::jail(Privilege::Root, Reach::Embedded);
    if !Uid::effective().is_root() {
        return Err(Skip::because("the tests do not run as root").into());
    }
    let bench = Bench::set_up(Arc::new(Stage::set_up()?), mode)?;
    let arms = bench
        .stage
        .arms
        .as_ref()
        .ok_or(Skip::because("not built with control arms"))?;
    if name == "DAC_OVERRIDE" && Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Err(Skip::because("on version 2 its groups may lie where root needs no capability").into());
    }
    let job = |arm: Option<&str>| {
        let mut command = mode.command(arms);
        command.args([
            "run",
            "--embedded",
            "--json",
            "--isolation",
            "strict",
            "-c",
            "print(1)",
        ]);
        if let Some(arm) = arm {
            command.env("BRIG_CONTROL_ARM", format!("without-capability:{arm}"));
        }
        process::run(command, Vec::new(), PATIENCE)
    };
    let whole = job(None)?;
    ensure!(whole.code() == 0, "a whole keeper: {}", told(&whole));
    ensure!(shows(&whole).is_err(), "the same shows with it: {}", told(&whole));
    shows(&job(Some(name))?)
}

/// Settings of systemd that work by a system-call filter, or cover parts of `/proc`.
const NOT_IN_THE_UNIT: [&str; 18] = [
    "DynamicUser",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "PrivateDevices",
    "ProcSubset",
    "ProtectClock",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallFilter",
    "SystemCallLog",
];

/// The unit as it is shipped, with the program that was built.
fn unit_is_valid() -> Result<()> {
    let shipped = std::fs::read_to_string(brig_tests::stage::source("../deploy/systemd/brig.service"))?;
    for line in shipped.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split('=').next().unwrap_or_default();
        ensure!(
            !NOT_IN_THE_UNIT.contains(&name),
            "{name} keeps newuidmap or /proc from working"
        );
    }
    if !brig_tests::modes::has_program("systemd-analyze") {
        return Err(Skip::because("systemd-analyze is not installed (package systemd)").into());
    }
    let stage = Stage::set_up()?;
    let unit = stage.path("brig.service");
    std::fs::write(
        &unit,
        shipped.replace("/usr/local/bin/brig", &stage.brig.display().to_string()),
    )?;
    let mut command = process::command("systemd-analyze");
    command.arg("verify").arg(&unit);
    let done = process::run(command, Vec::new(), PATIENCE)?;
    let said = told(&done);
    ensure!(done.code() == 0 && !said.contains("brig.service:"), "{said}");
    Ok(())
}
