//! Section 5 ("container runtime") of the CIS Docker benchmark, item by item, on the container of a running cell, as the
//! engine inspects it and as the kernel shows it. Each item is also asked of a container that was made carelessly: there it
//! must be found wanting, or it would prove nothing.

use anyhow::{Context, Result, bail, ensure};
use brig_tests::assert::{field, processes_with};
use brig_tests::cell::Bench;
use brig_tests::cells::Cells;
use brig_tests::engine::Engine;
use brig_tests::modes::Mode;
use brig_tests::process::wait_until;
use brig_tests::skip::Skip;
use brig_tests::stage::Stage;
use brig_tests::suite::{run, trial};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// One item.
#[derive(Debug, Clone, Copy)]
struct Item {
    title: &'static str,
    holds: fn(&Value) -> Result<()>,
    /// What of the engine it needs.
    needs: Option<&'static str>,
}

const fn item(title: &'static str, holds: fn(&Value) -> Result<()>) -> Item {
    Item {
        title,
        holds,
        needs: None,
    }
}

/// The items that are about a container. 5.6 to 5.8 and 5.13 (ports, sshd) are one here: it has no network at all. 5.22, 5.23
/// (exec) and 5.26 (health checks) are about what Brig never does: a cell lives for one job, and its lease is its health.
const ITEMS: &[Item] = &[
    Item {
        needs: Some("apparmor"),
        ..item("5.1 an AppArmor profile is enabled", |found| {
            let profile = found["AppArmorProfile"].as_str().unwrap_or_default();
            ensure!(!["", "unconfined"].contains(&profile), "profile {profile:?}");
            Ok(())
        })
    },
    Item {
        needs: Some("selinux"),
        ..item("5.2 SELinux is not turned off", |found| {
            ensure!(
                !options(found).iter().any(|one| one.contains("label=disable")),
                "off"
            );
            Ok(())
        })
    },
    item("5.3 no Linux kernel capability is left", |found| {
        let dropped = found["HostConfig"]["CapDrop"].to_string();
        ensure!(dropped.to_uppercase().contains("\"ALL\""), "dropped {dropped}");
        is_empty(&found["HostConfig"]["CapAdd"])
    }),
    item("5.4 it is not privileged", |found| {
        is(&found["HostConfig"]["Privileged"], &json!(false))
    }),
    item("5.5 no directory of the host is mounted", |found| {
        is_empty(&found["HostConfig"]["Binds"])?;
        let mounts = found["Mounts"].as_array().context("no mounts")?;
        ensure!(mounts.iter().all(|mount| mount["Type"] == "tmpfs"), "{mounts:?}");
        is_empty(&found["HostConfig"]["VolumesFrom"])
    }),
    item("5.7, 5.8, 5.13 no port is open", |found| {
        is_empty(&found["HostConfig"]["PortBindings"])?;
        is(&found["HostConfig"]["NetworkMode"], &json!("none"))
    }),
    item("5.9 the host's network is not shared", |found| {
        is(&found["HostConfig"]["NetworkMode"], &json!("none"))
    }),
    item("5.10 memory is limited, swap is off", |found| {
        let config = &found["HostConfig"];
        let memory = config["Memory"].as_i64().unwrap_or_default();
        ensure!(memory > 0, "memory {memory}");
        ensure!(
            config["MemorySwap"].as_i64() == Some(memory),
            "swap {}",
            config["MemorySwap"]
        );
        ensure!(config["OomKillDisable"] != true, "the OOM killer is off");
        Ok(())
    }),
    item("5.11 CPU is limited", |found| {
        let config = &found["HostConfig"];
        let nano = config["NanoCpus"].as_i64().unwrap_or_default();
        let quota = config["CpuQuota"].as_i64().unwrap_or_default();
        ensure!(nano > 0 || quota > 0, "no limit on CPU");
        Ok(())
    }),
    item("5.12 the root file system is read-only", |found| {
        is(&found["HostConfig"]["ReadonlyRootfs"], &json!(true))
    }),
    item("5.14 it is not started again", |found| {
        let policy = found["HostConfig"]["RestartPolicy"]["Name"]
            .as_str()
            .unwrap_or_default();
        ensure!(["", "no"].contains(&policy), "policy {policy:?}");
        Ok(())
    }),
    item("5.15 the host's processes are not shared", |found| {
        is_private(found, "PidMode")
    }),
    item("5.16 the host's IPC is not shared", |found| {
        let mode = found["HostConfig"]["IpcMode"].as_str().unwrap_or_default();
        ensure!(["private", "none"].contains(&mode), "mode {mode:?}");
        Ok(())
    }),
    item("5.17 no device of the host is there", |found| {
        is_empty(&found["HostConfig"]["Devices"])?;
        is_empty(&found["HostConfig"]["DeviceRequests"])?;
        is_empty(&found["HostConfig"]["DeviceCgroupRules"])
    }),
    item("5.18 the limits of processes are its own", |found| {
        let limits = found["HostConfig"]["Ulimits"].to_string();
        for name in ["nofile", "core"] {
            ensure!(limits.contains(name), "no limit {name}: {limits}");
        }
        Ok(())
    }),
    item("5.19 no mount is shared", |found| {
        let all = format!("{} {}", found["Mounts"], found["HostConfig"]["Binds"]);
        ensure!(!all.contains("shared"), "{all}");
        Ok(())
    }),
    item("5.20 the host's UTS namespace is not shared", |found| {
        is_private(found, "UTSMode")
    }),
    item("5.21 a seccomp profile is on, and it is Brig's", |found| {
        let all = options(found);
        let own = all.iter().find_map(|one| one.strip_prefix("seccomp="));
        let own = own.context("no profile but the engine's own")?;
        let profile: Value = serde_json::from_str(own).with_context(|| own.to_owned())?;
        ensure!(
            profile["defaultAction"] != "SCMP_ACT_ALLOW",
            "it allows by default"
        );
        Ok(())
    }),
    item("5.24 its control group is below the engine's", |found| {
        let parent = found["HostConfig"]["CgroupParent"].as_str().unwrap_or_default();
        ensure!(parent.is_empty(), "parent {parent:?}");
        is(&found["HostConfig"]["CgroupnsMode"], &json!("private"))
    }),
    item("5.25 it gets no new privileges", |found| {
        let all = options(found);
        let set = all
            .iter()
            .any(|one| ["no-new-privileges", "no-new-privileges:true"].contains(&one.as_str()));
        ensure!(set, "{all:?}");
        Ok(())
    }),
    item("5.27 its image is named by its content", |found| {
        let image = found["Config"]["Image"].as_str().unwrap_or_default();
        let by_content =
            image.starts_with("sha256:") || image.split([':', '@', '-']).any(|part| part.len() == 64);
        ensure!(by_content, "image {image:?}");
        Ok(())
    }),
    item("5.28 the number of processes is limited", |found| {
        let most = found["HostConfig"]["PidsLimit"].as_i64().unwrap_or_default();
        ensure!((1..=4096).contains(&most), "limit {most}");
        Ok(())
    }),
    item("5.29 the engine's bridge is not used", |found| {
        let networks = found["NetworkSettings"]["Networks"]
            .as_object()
            .context("no networks")?;
        ensure!(networks.keys().all(|name| name == "none"), "{networks:?}");
        is(&found["HostConfig"]["NetworkMode"], &json!("none"))
    }),
    item("5.30 the host's user namespace is not asked for", |found| {
        is_private(found, "UsernsMode")
    }),
    item("5.31 the engine's socket is not mounted", |found| {
        let all = format!("{} {}", found["Mounts"], found["HostConfig"]["Binds"]);
        ensure!(!all.contains(".sock"), "{all}");
        Ok(())
    }),
    item("4.1 it runs as an ordinary user", |found| {
        is(&found["Config"]["User"], &json!("10001:10001"))
    }),
    item(
        "nothing of the tenant is in its command, names and environment",
        |found| {
            let shown = format!(
                "{} {} {}",
                found["Config"]["Env"], found["Config"]["Cmd"], found["Config"]["Entrypoint"]
            );
            ensure!(!shown.contains("SECRET") && !shown.contains("sleep"), "{shown}");
            is(&found["Config"]["Hostname"], &json!("cell"))
        },
    ),
    item("its output is in no log of the engine", |found| {
        is(&found["HostConfig"]["LogConfig"]["Type"], &json!("none"))
    }),
];

fn options(found: &Value) -> Vec<String> {
    let all = found["HostConfig"]["SecurityOpt"]
        .as_array()
        .into_iter()
        .flatten();
    all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn is(found: &Value, wanted: &Value) -> Result<()> {
    ensure!(found == wanted, "{found} instead of {wanted}");
    Ok(())
}

fn is_empty(found: &Value) -> Result<()> {
    let empty = match found {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    ensure!(empty, "{found}");
    Ok(())
}

/// Neither the host's nor another container's.
fn is_private(found: &Value, name: &str) -> Result<()> {
    let mode = found["HostConfig"][name].as_str().unwrap_or_default();
    ensure!(["", "private"].contains(&mode), "{name} {mode:?}");
    Ok(())
}

fn main() -> ExitCode {
    let shared = Arc::new(OnceLock::new());
    let mut trials = Vec::new();
    for cells in [Cells::Docker, Cells::Gvisor] {
        for item in ITEMS {
            let shared = Arc::clone(&shared);
            trials.push(trial(format!("{} [{}]", item.title, cells.name()), move || {
                cells.available()?;
                engine_has(item.needs)?;
                let found = of_a_cell(cells, &shared)?;
                (item.holds)(&found).with_context(|| found["HostConfig"].to_string())
            }));
        }
    }
    for item in ITEMS {
        trials.push(trial(format!("{} [control arm]", item.title), move || {
            Cells::Docker.available()?;
            engine_has(item.needs)?;
            let found = careless()?;
            match (item.holds)(found) {
                Ok(()) => bail!("a careless container passes, too: {}", found["HostConfig"]),
                Err(_as_it_should) => Ok(()),
            }
        }));
    }
    trials.push(trial(
        "the kernel says the same of the program of a container",
        kernel,
    ));
    let code = run(trials);
    remove_careless();
    code
}

/// Inspections of running cells, one of each kind.
type Inspected = Arc<OnceLock<Vec<(Cells, Value)>>>;

fn of_a_cell(cells: Cells, shared: &Inspected) -> Result<Value> {
    let all = shared.get_or_init(|| {
        let kinds = [Cells::Docker, Cells::Gvisor].into_iter();
        let available = kinds.filter(|cells| cells.available().is_ok());
        available
            .map(|cells| {
                (
                    cells,
                    inspect(cells).unwrap_or_else(|error| json!({"error": format!("{error:#}")})),
                )
            })
            .collect()
    });
    let (_, found) = all
        .iter()
        .find(|(kind, _)| *kind == cells)
        .context("not inspected")?;
    ensure!(
        found["error"].is_null(),
        "no cell was inspected: {}",
        found["error"]
    );
    Ok(found.clone())
}

/// Runs something long, and asks the engine about the container that it is in.
fn inspect(cells: Cells) -> Result<Value> {
    let engine = Engine::of_the_tests()?;
    let bench = Bench::set_up(Arc::new(Stage::set_up()?), Mode::of_cells(cells))?;
    let run = bench
        .command(&["sleep", "600"])
        .options(&["--env", "SECRET=of the tenant"])
        .start()?;
    let mut found = None;
    wait_until(Duration::from_secs(30), || {
        let known = engine.containers().unwrap_or_default();
        let used = known.iter().filter(|one| !one.is_spare);
        let mut running = used.filter_map(|one| engine.inspect(&one.id).ok());
        found = running.find(|one| one["State"]["Running"] == true);
        found.is_some()
    });
    run.running().signal(Signal::SIGINT)?;
    run.report()?;
    found.context("no container of Brig ran")
}

fn engine_has(option: Option<&str>) -> Result<()> {
    let Some(name) = option else { return Ok(()) };
    let options = Engine::of_the_tests()?.get("/info")?["SecurityOptions"].to_string();
    if options.contains(name) {
        return Ok(());
    }
    Err(Skip::because(format!("the engine has no {name} on this machine")).into())
}

const CARELESS: &str = "brig-tests-careless";

/// A container with everything that the benchmark warns of; it is never started.
fn careless() -> Result<&'static Value> {
    static FOUND: OnceLock<Result<Value, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| make_careless().map_err(|error| format!("{error:#}")));
    found.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn make_careless() -> Result<Value> {
    let engine = Engine::of_the_tests()?;
    let images = engine.get("/images/json")?;
    let image = images[0]["Id"]
        .as_str()
        .context("the engine has no image yet")?
        .to_owned();
    remove_careless();
    // Asked by its number, an image has no other name: its first tag, or none at all, is the careless one.
    let tag = "brig-tests-careless:latest";
    engine.ask(
        "POST",
        &format!("/images/{image}/tag?repo=brig-tests-careless&tag=latest"),
    )?;
    let body = json!({
        "Image": tag, "Cmd": ["sleep", "1"], "Env": ["SECRET=1"],
        "HostConfig": {
            "Privileged": true, "Binds": ["/:/host:rshared", "/run/docker.sock:/run/docker.sock"],
            "NetworkMode": "host", "PidMode": "host", "IpcMode": "host", "UTSMode": "host", "UsernsMode": "host",
            "CgroupnsMode": "host", "CapAdd": ["ALL"], "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined", "label=disable"],
            "Devices": [{"PathOnHost": "/dev/mem", "PathInContainer": "/dev/mem", "CgroupPermissions": "rwm"}],
            "RestartPolicy": {"Name": "always"}, "CgroupParent": "/elsewhere", "LogConfig": {"Type": "json-file"},
        },
    });
    let made = engine.send(
        "POST",
        &format!("/containers/create?name={CARELESS}"),
        &body.to_string(),
    )?;
    ensure!(
        made.status == 201,
        "the engine makes no careless container: {} {}",
        made.status,
        made.body
    );
    engine.inspect(CARELESS)
}

fn remove_careless() {
    if let Ok(engine) = Engine::of_the_tests() {
        engine.remove(CARELESS).ok();
        engine
            .ask("DELETE", "/images/brig-tests-careless:latest?noprune=1")
            .ok();
    }
}

/// The program's own lines in `/proc`, read from the host, beside those of this test.
fn kernel() -> Result<()> {
    Cells::Docker.available()?;
    let bench = Bench::set_up(Arc::new(Stage::set_up()?), Mode::of_cells(Cells::Docker))?;
    let marker = bench.marker();
    let run = bench.command(&["sleep", &format!("600.{marker}")]).start()?;
    let mut found = Vec::new();
    wait_until(Duration::from_secs(20), || {
        found = processes_with(&marker);
        !found.is_empty()
    });
    let seen = found.first().map(|pid| bound(*pid));
    run.running().signal(Signal::SIGINT)?;
    run.report()?;
    seen.context("the program was never seen from outside")??;
    // The counterpart: this test is root and nothing binds it.
    ensure!(
        bound(std::process::id()).is_err(),
        "the harness itself passes, too"
    );
    Ok(())
}

fn bound(pid: u32) -> Result<()> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        |name: &str| field(&status, name).map(|rest| rest.split_whitespace().collect::<Vec<_>>().join(" "));
    let none = "0000000000000000";
    for (name, wanted) in [
        ("Uid:", "10001 10001 10001 10001"),
        ("Gid:", "10001 10001 10001 10001"),
        ("CapInh:", none),
        ("CapPrm:", none),
        ("CapEff:", none),
        ("CapBnd:", none),
        ("CapAmb:", none),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ] {
        let found = line(name).with_context(|| format!("no {name}"))?;
        ensure!(found == wanted, "{name} {found} instead of {wanted}");
    }
    for namespace in ["pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
        ensure!(
            of(&pid.to_string())? != of("self")?,
            "the host's {namespace} namespace"
        );
    }
    Ok(())
}
