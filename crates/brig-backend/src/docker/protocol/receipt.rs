//! What isolates a container, as read back from the engine after it was created.

use super::{BackendName, RootDigest};
use brig_jail::protocol::CellLimits;
use serde::{Deserialize, Serialize};

/// Who runs the containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineName {
    /// `Docker`, `Podman`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Version of the API that it speaks.
    pub api: String,
    /// What starts the container: `runc`, `runsc`.
    pub runtime: String,
    /// `cgroupfs`, `systemd`.
    pub cgroup_driver: String,
}

/// The profile of system calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeccompReceipt {
    /// Calls that it allows.
    pub allowed_calls: u16,
    /// SHA-256 of the profile, hexadecimal.
    pub digest: String,
}

/// What control groups hold back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CgroupLimits {
    /// `v1`, `v2`.
    pub version: String,
    /// Bytes, the runtime's own needs included.
    pub memory_bytes: u64,
    /// What of the memory is for the runtime itself and not for the program.
    pub memory_overhead_bytes: u64,
    /// Processes and threads, the container's first one and the runtime's own included.
    pub processes: u32,
    /// What of the processes is for them.
    pub processes_overhead: u32,
    /// Thousandths of one CPU.
    pub cpu_millis: u32,
    /// Whether swap is off.
    pub swap_off: bool,
}

/// The isolation receipt of a container, as the broker knows it. The daemon adds words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each a line of the receipt"
)]
pub struct ContainerReceipt {
    /// Which of the configured backends.
    pub backend: BackendName,
    /// The root file system.
    pub image: RootDigest,
    /// Who runs it.
    pub engine: EngineName,
    /// The limits after the broker's ceilings.
    pub limits: CellLimits,
    /// `10001:10001`.
    pub user: String,
    /// Whether the root is read-only.
    pub read_only_root: bool,
    /// Whether every capability is dropped.
    pub no_capabilities: bool,
    /// Whether `no_new_privs` is set.
    pub no_new_privileges: bool,
    /// `none`.
    pub network: String,
    /// The profile of AppArmor, where the host has it.
    pub apparmor: Option<String>,
    /// The profile of system calls.
    pub seccomp: SeccompReceipt,
    /// What control groups hold back.
    pub cgroup: CgroupLimits,
    /// Namespaces that the container does not share with the host.
    pub namespaces: Vec<String>,
    /// Whether the runtime has a kernel of its own (gVisor, Kata).
    pub own_kernel: bool,
}
