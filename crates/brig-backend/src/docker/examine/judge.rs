//! From what an engine says of itself to what an operator should do. Pure.

use super::version::{holes_of_runc, is_a_distributions, numbers};
use super::{EngineFacts, Finding, Grade, Wishes};

/// The oldest API that knows everything a cell needs: private control-group namespaces.
const API_MIN: [u32; 3] = [1, 41, 0];

/// Storage on which a container starts by copying its whole image.
const COPYING: [&str; 1] = ["vfs"];

pub(super) fn findings(facts: &EngineFacts, wishes: &Wishes) -> Vec<Finding> {
    let mut findings = vec![version(facts), runc(facts)];
    findings.extend(
        wishes
            .runtimes
            .iter()
            .map(|(name, runtime)| runtime_of(facts, name, runtime)),
    );
    findings.extend([
        limits(facts),
        groups(facts),
        seccomp(facts),
        apparmor(facts),
        users(facts),
        storage(facts),
    ]);
    findings.push(images(wishes));
    findings
}

fn version(facts: &EngineFacts) -> Finding {
    let detail = format!("{} {}, API {}", facts.product, facts.version, facts.api);
    match numbers(&facts.api) {
        Some(api) if api >= API_MIN => Finding::fine("engine", detail),
        Some(_) | None => Finding::of(
            "engine",
            Grade::Trouble,
            format!("{detail}: it is too old"),
            "Brig needs API 1.41, which Docker has since 20.10: install a newer engine",
        ),
    }
}

fn runc(facts: &EngineFacts) -> Finding {
    let Some((_, version, revision)) = facts.components.iter().find(|(name, _, _)| name == "runc") else {
        return Finding::of(
            "runc",
            Grade::Note,
            "the engine does not tell the version of runc",
            "look at it yourself: 1.2.8, 1.3.3 or newer has no known way out (`runc --version`)",
        );
    };
    let holes = holes_of_runc(version);
    if holes.is_empty() {
        return Finding::fine("runc", version.clone());
    }
    let detail = format!("{version}: {}", holes.join("; "));
    if is_a_distributions(version, revision) {
        let remedy = format!(
            "a distribution mends holes in its own revisions ({revision}): look whether these are among them (`apt changelog runc`)"
        );
        return Finding::of("runc", Grade::Note, detail, remedy);
    }
    Finding::of(
        "runc",
        Grade::Trouble,
        detail,
        "a program may leave its container: install runc 1.2.8, 1.3.3 or newer",
    )
}

fn runtime_of(facts: &EngineFacts, backend: &str, runtime: &str) -> Finding {
    if facts.runtimes.contains(runtime) {
        return Finding::fine("runtime", format!("{runtime} (backend {backend})"));
    }
    let known: Vec<&str> = facts
        .runtimes
        .iter()
        .map(String::as_str)
        .filter(|name| !name.starts_with("io.containerd."))
        .collect();
    let field = if backend == "docker" {
        "docker.runtime".to_owned()
    } else {
        format!("docker.backends.{backend}.runtime")
    };
    Finding::of(
        "runtime",
        Grade::Trouble,
        format!(
            "the engine has no runtime {runtime}, which the backend {backend} needs; it has: {}",
            known.join(", ")
        ),
        format!(
            "install it, name it below \"runtimes\" in /etc/docker/daemon.json and restart the engine; or change {field} in the \
             configuration"
        ),
    )
}

fn limits(facts: &EngineFacts) -> Finding {
    let hard: Vec<&str> = facts
        .missing_limits
        .iter()
        .copied()
        .filter(|name| *name != "swap")
        .collect();
    if !hard.is_empty() {
        return Finding::of(
            "limits",
            Grade::Trouble,
            format!("the engine cannot limit {}", hard.join(", ")),
            "its control groups lack these controllers: as a rootless engine it needs them delegated \
             (`systemctl edit user@.service`, Delegate=cpu memory pids)",
        );
    }
    if facts.missing_limits.is_empty() {
        Finding::fine("limits", "memory, swap, processes, CPU")
    } else {
        Finding::of(
            "limits",
            Grade::Note,
            "the engine cannot turn swap off for a container",
            "boot with `swapaccount=1`, or without swap",
        )
    }
}

fn groups(facts: &EngineFacts) -> Finding {
    let detail = format!("version {}, driver {}", facts.cgroup_version, facts.cgroup_driver);
    if facts.cgroup_driver == "none" {
        return Finding::of(
            "control groups",
            Grade::Trouble,
            detail,
            "the engine uses none, so nothing limits a container: delegate them to it, or run the engine as root",
        );
    }
    Finding::fine("control groups", detail)
}

fn option<'a>(facts: &'a EngineFacts, name: &str) -> Option<&'a str> {
    let wanted = format!("name={name}");
    facts
        .security
        .iter()
        .map(String::as_str)
        .find(|option| option.split(',').any(|part| part == wanted || part == name))
}

fn seccomp(facts: &EngineFacts) -> Finding {
    match option(facts, "seccomp") {
        Some(_) => Finding::fine("seccomp", "there; cells get Brig's own profile"),
        None => Finding::of(
            "seccomp",
            Grade::Trouble,
            "the engine was built without it, or the kernel has none",
            "install an engine with seccomp: without it no cell runs",
        ),
    }
}

fn apparmor(facts: &EngineFacts) -> Finding {
    let other = option(facts, "selinux").map(|_| "SELinux");
    match option(facts, "apparmor").map(|_| "AppArmor").or(other) {
        Some(name) => Finding::fine("mandatory access", name),
        None => Finding::of(
            "mandatory access",
            Grade::Note,
            "neither AppArmor nor SELinux confines containers here",
            "where the kernel has AppArmor: install `apparmor` and restart the engine. The other layers hold without it",
        ),
    }
}

fn users(facts: &EngineFacts) -> Finding {
    if option(facts, "rootless").is_some() || option(facts, "userns").is_some() {
        return Finding::fine("user ids", "root of a container is nobody on this host");
    }
    Finding::of(
        "user ids",
        Grade::Note,
        "root of a container is root of this host; cells run as 10001 and can become nobody else",
        "`\"userns-remap\": \"default\"` in /etc/docker/daemon.json adds a wall (it hides images that are there already)",
    )
}

fn storage(facts: &EngineFacts) -> Finding {
    if COPYING.contains(&facts.storage.as_str()) {
        return Finding::of(
            "storage",
            Grade::Note,
            format!("{}: every container copies its whole image", facts.storage),
            "`\"storage-driver\": \"overlay2\"` in /etc/docker/daemon.json; /var/lib/docker must not be on an overlay itself",
        );
    }
    Finding::fine("storage", facts.storage.clone())
}

fn images(wishes: &Wishes) -> Finding {
    let default = &wishes.default_image;
    if wishes.images.contains(default) {
        let names: Vec<&str> = wishes.images.iter().map(String::as_str).collect();
        return Finding::fine("images", names.join(", "));
    }
    Finding::of(
        "images",
        Grade::Trouble,
        format!("the image {default}, which jobs get that name none, is not there"),
        format!(
            "build it: `brig image build {default}`; or name another one: `image` below [docker] in the configuration"
        ),
    )
}
