//! What a container is made of, as data: from the broker's own configuration and a request's limits, and from nothing
//! else. [`ContainerPlan::body`] is what the engine is asked for, [`super::verify`] what it made of it.

use super::engine::EngineFacts;
use crate::docker::protocol::{BackendName, RootDigest};
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum, SystemInfoCgroupVersionEnum,
};
use brig_jail::protocol::CellLimits;
use std::collections::HashMap;
use std::sync::Arc;

/// The user of every program, as in the jail.
pub(super) const USER: &str = "10001:10001";
/// The host's name, the same in every container.
pub(super) const HOST_NAME: &str = "cell";
/// Inside every container: its first process.
pub(super) const INIT: &str = "/.brig/init";
/// The label by which an installation finds its containers.
pub(super) const LABEL_INSTANCE: &str = "dev.brig.instance";
/// The label that names the broker process.
pub(super) const LABEL_BROKER: &str = "dev.brig.broker";
/// The label that names the job.
pub(super) const LABEL_JOB: &str = "dev.brig.job";
/// The labels that name an image: its root file system and the init in it.
pub(super) const LABEL_ROOT: &str = "dev.brig.rootfs";
/// See [`LABEL_ROOT`].
pub(super) const LABEL_INIT: &str = "dev.brig.init";

/// Length of a scheduling period, microseconds: the kernel's default.
const PERIOD_MICROS: i64 = 100_000;
/// A runtime's own start takes this many threads, and the limit of processes holds for it, too.
const START_PROCESSES: i64 = 64;

/// What is not the container's to see: everything about the host that the jail hides, too. `/sys` as a whole, since no cell
/// has one.
const MASKED: [&str; 42] = [
    "/sys",
    "/dev/mqueue",
    "/proc/acpi",
    "/proc/asound",
    "/proc/buddyinfo",
    "/proc/cgroups",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/consoles",
    "/proc/diskstats",
    "/proc/dma",
    "/proc/driver",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/locks",
    "/proc/modules",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/partitions",
    "/proc/pressure",
    "/proc/sched_debug",
    "/proc/schedstat",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/swaps",
    "/proc/sys/kernel/random/boot_id",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/proc/vmcore",
    "/proc/zoneinfo",
];

/// What nothing in a container may write.
const READ_ONLY: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

/// What a runtime needs for itself inside the limits of a container, as measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overhead {
    /// Bytes.
    pub(super) memory_bytes: u64,
    /// Processes and threads.
    pub(super) processes: u32,
    /// The runtime has a kernel of its own, which answers the program's calls.
    pub(super) own_kernel: bool,
}

impl Overhead {
    /// By the name of the runtime's program.
    pub(super) fn of(program: &str, limits: &CellLimits) -> Overhead {
        let name = program.rsplit('/').next().unwrap_or(program);
        if name.contains("runsc") || name.contains("kata") {
            // Measured with runsc on its ptrace platform: 23 MiB and 52 threads of the host around an idle interpreter, 40 MiB
            // and 287 threads with 40 processes more, so six threads for each. A sandbox that gets no more threads dies.
            Overhead {
                memory_bytes: 64 << 20,
                processes: limits.processes.saturating_mul(7).saturating_add(128),
                own_kernel: true,
            }
        } else {
            // The first process, with its buffers.
            Overhead {
                memory_bytes: 4 << 20,
                processes: 1,
                own_kernel: false,
            }
        }
    }
}

/// Everything about one container.
#[derive(Debug, Clone)]
pub(super) struct ContainerPlan {
    pub(super) name: String,
    /// The engine's own id of the image.
    pub(super) image_id: String,
    pub(super) root: RootDigest,
    pub(super) backend: BackendName,
    pub(super) runtime: String,
    pub(super) overhead: Overhead,
    pub(super) limits: CellLimits,
    pub(super) profile: Arc<str>,
    pub(super) apparmor: Option<String>,
    pub(super) cgroup_v2: bool,
    pub(super) swap_accounted: bool,
    pub(super) labels: HashMap<String, String>,
}

/// The profile of AppArmor that an engine brings along.
const APPARMOR: &str = "docker-default";

/// What of a plan the engine decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of the host")]
pub(super) struct HostTraits {
    pub(super) apparmor: bool,
    pub(super) cgroup_v2: bool,
    pub(super) swap_accounted: bool,
}

impl HostTraits {
    pub(super) fn of(engine: &EngineFacts) -> HostTraits {
        let options = engine.info.security_options.as_deref().unwrap_or_default();
        HostTraits {
            apparmor: options.iter().any(|option| option.starts_with("name=apparmor")),
            cgroup_v2: engine.info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_2),
            swap_accounted: engine.info.swap_limit != Some(false),
        }
    }

    pub(super) fn apparmor_profile(self) -> Option<String> {
        self.apparmor.then(|| APPARMOR.to_owned())
    }
}

/// As the engine wants numbers.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl ContainerPlan {
    /// The limit of memory: the jail counts a cell's tmpfs, too, and so does a container's group.
    pub(super) fn memory(&self) -> i64 {
        signed(
            self.limits
                .memory_bytes
                .saturating_add(self.overhead.memory_bytes),
        )
    }

    /// The limit of processes while the program runs.
    pub(super) fn processes(&self) -> i64 {
        i64::from(self.limits.processes) + i64::from(self.overhead.processes)
    }

    /// The limit of processes while the container starts.
    pub(super) fn start_processes(&self) -> i64 {
        self.processes().max(START_PROCESSES)
    }

    /// Microseconds of CPU in a period.
    pub(super) fn quota(&self) -> i64 {
        (i64::from(self.limits.cpu_millis) * PERIOD_MICROS / 1_000).max(1_000)
    }

    pub(super) const fn period() -> i64 {
        PERIOD_MICROS
    }

    /// Paths that are masked.
    pub(super) fn masked() -> Vec<String> {
        MASKED.map(str::to_owned).to_vec()
    }

    /// Paths that are read-only.
    pub(super) fn read_only() -> Vec<String> {
        READ_ONLY.map(str::to_owned).to_vec()
    }

    /// Without these a container would see those of the host.
    pub(super) fn name_servers() -> Vec<String> {
        vec!["127.0.0.1".to_owned()]
    }

    /// None at all.
    pub(super) fn search_domains() -> Vec<String> {
        vec![".".to_owned()]
    }

    /// A program can find itself by its host's name, as in the jail.
    pub(super) fn hosts() -> Vec<String> {
        vec![format!("{HOST_NAME}:127.0.0.1")]
    }

    /// The writable places. A tmpfs without a number of files has as many as fit into half of the host's memory.
    pub(super) fn tmpfs(&self) -> HashMap<String, String> {
        let CellLimits {
            workspace_bytes,
            workspace_files,
            tmp_bytes,
            tmp_files,
            shm_bytes,
            ..
        } = self.limits;
        // The program's own, all of them: runc before 1.2 gives a tmpfs the mode of the image's directory, whatever is asked
        // for, and only an owner can write to a directory of mode 755.
        let place = |bytes: u64, files: u32, mode: &str| {
            format!("size={bytes},nr_inodes={files},uid=10001,gid=10001,mode={mode},nosuid,nodev")
        };
        let own = "0700";
        let everybody = "1777";
        HashMap::from([
            (
                "/workspace".to_owned(),
                place(workspace_bytes, workspace_files, own) + ",exec",
            ),
            (
                "/tmp".to_owned(),
                place(tmp_bytes, tmp_files, everybody) + ",exec",
            ),
            // Shared memory is no place for programs, as in the jail.
            (
                "/dev/shm".to_owned(),
                place(shm_bytes, tmp_files, everybody) + ",noexec",
            ),
        ])
    }

    /// Resource limits of init, which it can only lower for the program. A core file of one byte is none, and starts no
    /// collector of core files, which a limit of zero does.
    pub(super) fn ulimits(&self) -> Vec<ResourcesUlimits> {
        let limit = |name: &str, value: i64| ResourcesUlimits {
            name: Some(name.to_owned()),
            soft: Some(value),
            hard: Some(value),
        };
        let files = i64::from(self.limits.open_files.max(256));
        vec![limit("core", 1), limit("nofile", files)]
    }

    /// `no_new_privs`, the profiles.
    pub(super) fn security_options(&self) -> Vec<String> {
        let mut options = vec![
            "no-new-privileges".to_owned(),
            format!("seccomp={}", self.profile),
        ];
        options.extend(self.apparmor.iter().map(|profile| format!("apparmor={profile}")));
        options
    }

    fn host_config(&self) -> HostConfig {
        HostConfig {
            runtime: Some(self.runtime.clone()),
            readonly_rootfs: Some(true),
            privileged: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(self.security_options()),
            masked_paths: Some(Self::masked()),
            readonly_paths: Some(Self::read_only()),
            network_mode: Some("none".to_owned()),
            // The engine writes files of its own over the image's /etc/hosts and /etc/resolv.conf. Nobody answers there, as
            // nobody does in the jail.
            dns: Some(Self::name_servers()),
            dns_search: Some(Self::search_domains()),
            extra_hosts: Some(Self::hosts()),
            // A namespace of its own, and no /dev/shm of the engine's: ours is a tmpfs with limits.
            ipc_mode: Some("none".to_owned()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            memory: Some(self.memory()),
            // Memory and swap together, so no swap.
            memory_swap: Some(self.memory()),
            cpu_period: Some(PERIOD_MICROS),
            cpu_quota: Some(self.quota()),
            pids_limit: Some(self.start_processes()),
            oom_score_adj: Some(OOM_SCORE),
            ulimits: Some(self.ulimits()),
            tmpfs: Some(self.tmpfs()),
            init: Some(false),
            // One that ended leaves nothing, also where no broker lives any more.
            auto_remove: Some(true),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            ..HostConfig::default()
        }
    }

    /// What the engine is asked for. Nothing of a tenant is in it but the job's id, as a label.
    pub(super) fn body(&self) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(self.image_id.clone()),
            entrypoint: Some(vec![INIT.to_owned(), "--container".to_owned()]),
            cmd: Some(Vec::new()),
            env: Some(Vec::new()),
            hostname: Some(HOST_NAME.to_owned()),
            user: Some(USER.to_owned()),
            working_dir: Some("/".to_owned()),
            tty: Some(false),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            // A dead broker closes init's input, and that ends the container.
            stdin_once: Some(true),
            stop_signal: Some("SIGKILL".to_owned()),
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            labels: Some(self.labels.clone()),
            host_config: Some(self.host_config()),
            ..ContainerCreateBody::default()
        }
    }
}

/// Rather a cell than the host's own services, and rather its program (1000) than its init.
pub(super) const OOM_SCORE: i64 = 500;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::docker::protocol::tests::{backend, digest};

    pub(in super::super) fn plan() -> ContainerPlan {
        ContainerPlan {
            name: "brig-test".to_owned(),
            image_id: "sha256:abc".to_owned(),
            root: digest(),
            backend: backend(),
            runtime: "runc".to_owned(),
            overhead: Overhead::of("runc", &CellLimits::DEFAULT),
            limits: CellLimits::DEFAULT,
            profile: Arc::from("{}"),
            apparmor: Some("docker-default".to_owned()),
            cgroup_v2: false,
            swap_accounted: true,
            labels: HashMap::from([(LABEL_INSTANCE.to_owned(), "test".to_owned())]),
        }
    }

    #[test]
    fn what_the_engine_is_asked_for_is_exactly_this() {
        let body = serde_json::to_value(plan().body()).unwrap();
        let expected: serde_json::Value =
            serde_json::from_str(include_str!("golden/container.json")).unwrap();
        assert_eq!(
            body,
            expected,
            "now it is\n{}",
            serde_json::to_string_pretty(&body).unwrap()
        );
    }

    #[test]
    fn the_limits_are_those_of_the_request_and_what_the_runtime_itself_needs() {
        let mut plan = plan();
        plan.limits.processes = 1;
        plan.limits.cpu_millis = 1;
        assert_eq!(
            (plan.processes(), plan.start_processes(), plan.quota()),
            (2, 64, 1_000)
        );
        assert_eq!(plan.memory(), (512 << 20) + (4 << 20));
        let gvisor = Overhead::of("/usr/bin/runsc", &CellLimits::DEFAULT);
        assert!(gvisor.own_kernel && gvisor.processes > 64);
        assert!(!Overhead::of("runc", &CellLimits::DEFAULT).own_kernel);
    }

    #[test]
    fn an_engine_without_apparmor_is_asked_for_none() {
        let mut plan = plan();
        plan.apparmor = None;
        assert!(
            !plan
                .security_options()
                .iter()
                .any(|option| option.contains("apparmor"))
        );
    }
}
