//! What the engine made of a plan. An engine that does not know a field ignores it silently, so every one is read back
//! before the container is started.

use super::plan::{ContainerPlan, HOST_NAME, INIT, OOM_SCORE, USER};
use bollard::models::{ContainerConfig, ContainerInspectResponse, HostConfig, HostConfigCgroupnsModeEnum};
use std::collections::BTreeSet;

/// The first field that is not as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ignored {
    /// Its name, as the engine's API has it.
    pub(super) field: &'static str,
}

/// Collects the names of fields that are wrong; the first one is told.
struct Check {
    wrong: Option<&'static str>,
}

impl Check {
    fn that(&mut self, field: &'static str, right: impl Into<bool>) {
        if !right.into() {
            self.wrong.get_or_insert(field);
        }
    }

    fn none_of<T>(&mut self, field: &'static str, list: Option<&Vec<T>>) {
        self.that(field, list.is_none_or(Vec::is_empty));
    }

    fn unset(&mut self, field: &'static str, text: Option<&String>) {
        self.that(field, text.is_none_or(String::is_empty));
    }
}

/// Whether a container, created and not yet started, is what the plan says.
pub(super) fn verify(plan: &ContainerPlan, made: &ContainerInspectResponse) -> Result<(), Ignored> {
    let mut check = Check { wrong: None };
    match (&made.host_config, &made.config) {
        (Some(host), Some(config)) => {
            walls(&mut check, plan, host);
            limits(&mut check, plan, host);
            doors(&mut check, host);
            program(&mut check, plan, config);
        }
        (None, _) => check.that("HostConfig", false),
        (_, None) => check.that("Config", false),
    }
    check.that("Image", made.image.as_deref() == Some(plan.image_id.as_str()));
    let apparmor = made.app_armor_profile.as_deref().unwrap_or_default();
    check.that(
        "AppArmorProfile",
        // Engines name the profile of a container only once it runs, where it was not asked for.
        plan.apparmor.as_deref().is_none_or(|wanted| apparmor == wanted),
    );
    match check.wrong {
        None => Ok(()),
        Some(field) => Err(Ignored { field }),
    }
}

fn same(some: Option<&Vec<String>>, wanted: &[String]) -> bool {
    let set = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
    some.is_some_and(|list| set(list) == set(wanted))
}

fn walls(check: &mut Check, plan: &ContainerPlan, host: &HostConfig) {
    check.that("Runtime", host.runtime.as_ref() == Some(&plan.runtime));
    check.that("ReadonlyRootfs", host.readonly_rootfs == Some(true));
    check.that("Privileged", host.privileged == Some(false));
    let all = |caps: &Vec<String>| caps.iter().any(|cap| cap.eq_ignore_ascii_case("ALL"));
    check.that("CapDrop", host.cap_drop.as_ref().is_some_and(all));
    check.none_of("CapAdd", host.cap_add.as_ref());
    check.that(
        "SecurityOpt",
        same(host.security_opt.as_ref(), &plan.security_options()),
    );
    check.that(
        "MaskedPaths",
        same(host.masked_paths.as_ref(), &ContainerPlan::masked()),
    );
    check.that(
        "ReadonlyPaths",
        same(host.readonly_paths.as_ref(), &ContainerPlan::read_only()),
    );
    check.that("NetworkMode", host.network_mode.as_deref() == Some("none"));
    check.that("Dns", same(host.dns.as_ref(), &ContainerPlan::name_servers()));
    check.that(
        "DnsSearch",
        same(host.dns_search.as_ref(), &ContainerPlan::search_domains()),
    );
    check.that(
        "ExtraHosts",
        same(host.extra_hosts.as_ref(), &ContainerPlan::hosts()),
    );
    check.that("IpcMode", host.ipc_mode.as_deref() == Some("none"));
    check.that(
        "CgroupnsMode",
        host.cgroupns_mode == Some(HostConfigCgroupnsModeEnum::PRIVATE),
    );
    check.unset("PidMode", host.pid_mode.as_ref());
    check.unset("UTSMode", host.uts_mode.as_ref());
    check.unset("UsernsMode", host.userns_mode.as_ref());
    check.unset("CgroupParent", host.cgroup_parent.as_ref());
}

fn limits(check: &mut Check, plan: &ContainerPlan, host: &HostConfig) {
    check.that("Memory", host.memory == Some(plan.memory()));
    check.that(
        "MemorySwap",
        !plan.swap_accounted || host.memory_swap == Some(plan.memory()),
    );
    check.that("OomKillDisable", host.oom_kill_disable != Some(true));
    check.that("PidsLimit", host.pids_limit == Some(plan.start_processes()));
    check.that("CpuPeriod", host.cpu_period == Some(ContainerPlan::period()));
    check.that("CpuQuota", host.cpu_quota == Some(plan.quota()));
    check.that("OomScoreAdj", host.oom_score_adj == Some(OOM_SCORE));
    check.that("Ulimits", host.ulimits.as_ref() == Some(&plan.ulimits()));
    check.that("Tmpfs", host.tmpfs.as_ref() == Some(&plan.tmpfs()));
}

/// What would lead out.
fn doors(check: &mut Check, host: &HostConfig) {
    check.none_of("Binds", host.binds.as_ref());
    check.none_of("Mounts", host.mounts.as_ref());
    check.none_of("VolumesFrom", host.volumes_from.as_ref());
    check.none_of("Devices", host.devices.as_ref());
    check.none_of("DeviceCgroupRules", host.device_cgroup_rules.as_ref());
    check.none_of("DeviceRequests", host.device_requests.as_ref());
    check.none_of("GroupAdd", host.group_add.as_ref());
    check.none_of("Links", host.links.as_ref());
    check.that(
        "PortBindings",
        host.port_bindings
            .as_ref()
            .is_none_or(std::collections::HashMap::is_empty),
    );
    check.that("PublishAllPorts", host.publish_all_ports != Some(true));
    check.that("Init", host.init != Some(true));
    check.that("AutoRemove", host.auto_remove == Some(true));
    let log = host.log_config.as_ref().and_then(|log| log.typ.as_deref());
    check.that("LogConfig", log == Some("none"));
}

fn program(check: &mut Check, plan: &ContainerPlan, config: &ContainerConfig) {
    check.that("User", config.user.as_deref() == Some(USER));
    let words = [INIT.to_owned(), "--container".to_owned()];
    check.that(
        "Entrypoint",
        config.entrypoint.as_deref() == Some(words.as_slice()),
    );
    check.none_of("Cmd", config.cmd.as_ref());
    check.that("Tty", config.tty != Some(true));
    check.that("OpenStdin", config.open_stdin == Some(true));
    check.that("StdinOnce", config.stdin_once == Some(true));
    check.that("Hostname", config.hostname.as_deref() == Some(HOST_NAME));
    let labelled = |labels: &std::collections::HashMap<String, String>| {
        plan.labels
            .iter()
            .all(|(name, value)| labels.get(name) == Some(value))
    };
    check.that("Labels", config.labels.as_ref().is_some_and(labelled));
    check.none_of("Volumes", config.volumes.as_ref());
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;
    use serde_json::{Value, json};

    /// What a good engine answers.
    fn made() -> Value {
        let body = serde_json::to_value(plan().body()).unwrap();
        json!({
            "Image": "sha256:abc",
            "AppArmorProfile": "docker-default",
            "HostConfig": body["HostConfig"],
            "Config": {
                "User": body["User"], "Entrypoint": body["Entrypoint"], "Cmd": null, "Tty": false,
                "OpenStdin": true, "StdinOnce": true, "Hostname": "cell",
                "Labels": body["Labels"],
            },
        })
    }

    fn result(made: Value) -> Result<(), Ignored> {
        verify(&plan(), &serde_json::from_value(made).unwrap())
    }

    #[test]
    fn a_container_that_is_as_asked_for_passes() {
        assert_eq!(result(made()), Ok(()));
    }

    #[test]
    fn every_field_that_an_engine_ignores_is_found_and_named() {
        let body = serde_json::to_value(plan().body()).unwrap();
        let mut looked_at = 0;
        for field in body["HostConfig"].as_object().unwrap().keys() {
            // What an engine does by itself when it is not asked.
            if ["RestartPolicy", "Init", "Privileged"].contains(&field.as_str()) {
                continue;
            }
            let mut without = made();
            without["HostConfig"]
                .as_object_mut()
                .unwrap()
                .remove(field)
                .unwrap();
            let error = result(without).expect_err(field);
            assert_eq!(error.field, field);
            looked_at += 1;
        }
        assert!(looked_at >= 18, "only {looked_at} fields were looked at");
    }

    #[test]
    fn what_nobody_asked_for_is_found_and_named() {
        let extra = [
            ("Privileged", json!(true)),
            ("Init", json!(true)),
            ("Binds", json!(["/:/host"])),
            ("CapAdd", json!(["SYS_ADMIN"])),
            ("PidMode", json!("host")),
            ("UTSMode", json!("host")),
            ("UsernsMode", json!("host")),
            ("Devices", json!([{"PathOnHost": "/dev/sda"}])),
            ("VolumesFrom", json!(["other"])),
            ("GroupAdd", json!(["docker"])),
            ("NetworkMode", json!("host")),
            ("IpcMode", json!("host")),
            ("MemorySwap", json!(-1)),
            (
                "SecurityOpt",
                json!([
                    "no-new-privileges",
                    "seccomp=unconfined",
                    "apparmor=docker-default"
                ]),
            ),
        ];
        for (field, value) in extra {
            let mut changed = made();
            changed["HostConfig"][field] = value;
            assert_eq!(result(changed), Err(Ignored { field }));
        }
        let config = [
            ("User", json!("")),
            ("StdinOnce", json!(false)),
            ("Entrypoint", json!(["sh"])),
            ("Labels", json!({})),
            ("Cmd", json!(["sh"])),
        ];
        for (field, value) in config {
            let mut changed = made();
            changed["Config"][field] = value;
            assert_eq!(result(changed), Err(Ignored { field }));
        }
        for (field, value) in [
            ("Image", json!("sha256:other")),
            ("AppArmorProfile", json!("unconfined")),
        ] {
            let mut changed = made();
            changed[field] = value;
            assert_eq!(result(changed), Err(Ignored { field }));
        }
    }
}
