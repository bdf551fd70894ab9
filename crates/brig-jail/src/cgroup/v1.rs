//! Version 1: one tree per controller (or several controllers in one).

use super::files::{keyed_number, number, write};
use super::{Controllers, Counters};
use crate::protocol::CellLimits;
use nix::errno::Errno;
use std::path::Path;

/// Length of a scheduling period, microseconds; the kernel's default.
const PERIOD_MICROS: u64 = 100_000;

/// The controllers of ours that a tree carries.
pub(crate) fn controllers(names: &[String]) -> Controllers {
    let has = |name: &str| names.iter().any(|controller| controller == name);
    let mut found = Controllers::default();
    if has("memory") {
        found = found.with(Controllers::MEMORY);
    }
    if has("cpu") {
        found = found.with(Controllers::CPU);
    }
    if has("pids") {
        found = found.with(Controllers::PIDS);
    }
    found
}

/// Writes the limits that this tree's controllers know.
pub(crate) fn limit(group: &Path, present: Controllers, limits: &CellLimits) -> nix::Result<()> {
    if present.has(Controllers::MEMORY) {
        limit_memory(group, limits.memory_bytes)?;
        limit_socket_buffers(group, limits.memory_bytes)?;
    }
    if present.has(Controllers::CPU) {
        let quota = (u64::from(limits.cpu_millis) * PERIOD_MICROS / 1_000).max(1_000);
        write(group, "cpu.cfs_quota_us", &quota.to_string())?;
    }
    if present.has(Controllers::PIDS) {
        write(group, "pids.max", &limits.processes.to_string())?;
    }
    Ok(())
}

/// Lets the processes of a killed group use every CPU, as four cells would: what is left of them is the kernel's own
/// work of taking them apart. No more than that, so that nobody's dying starves the living.
pub(crate) fn hurry(group: &Path, present: Controllers) {
    if present.has(Controllers::CPU) {
        write(group, "cpu.cfs_quota_us", "-1").ok();
        write(group, "cpu.shares", "4096").ok();
    }
}

/// Memory and memory plus swap are the same number: no swap. The kernel demands memory ≤ memory plus swap after
/// every single write, so the order depends on the direction.
fn limit_memory(group: &Path, bytes: u64) -> nix::Result<()> {
    let value = bytes.to_string();
    let raising = number(group, "memory.limit_in_bytes").is_some_and(|current| current < bytes);
    if raising {
        limit_swap(group, &value)?;
        write(group, "memory.limit_in_bytes", &value)
    } else {
        write(group, "memory.limit_in_bytes", &value)?;
        limit_swap(group, &value)
    }
}

/// Version 1 counts what is queued in TCP and UDP sockets apart from memory, and only in groups that have a limit for it: without
/// one, a cell of 512 MiB took the TCP memory of the whole host. A quarter on top of the cell's memory is more than
/// programs that talk to themselves need.
fn limit_socket_buffers(group: &Path, memory: u64) -> nix::Result<()> {
    match write(group, "memory.kmem.tcp.limit_in_bytes", &(memory / 4).to_string()) {
        // A kernel without that counter.
        Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(()),
        written => written,
    }
}

/// A kernel without swap accounting has no such file; [`swap_is_off`] tells the receipt.
fn limit_swap(group: &Path, value: &str) -> nix::Result<()> {
    match write(group, "memory.memsw.limit_in_bytes", value) {
        Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(()),
        written => written,
    }
}

/// Whether swap is accounted and so limited.
pub(crate) fn swap_is_off(group: &Path) -> bool {
    number(group, "memory.memsw.limit_in_bytes").is_some()
}

/// Adds what this tree's controllers counted.
pub(crate) fn count(group: &Path, names: &[String], counters: &mut Counters) {
    for name in names {
        match name.as_str() {
            "memory" => {
                counters.memory_peak = number(group, "memory.max_usage_in_bytes");
                counters.oom_kills = keyed_number(group, "memory.oom_control", "oom_kill");
            }
            "cpu" => counters.throttled_nanos = keyed_number(group, "cpu.stat", "throttled_time"),
            "cpuacct" => counters.cpu_nanos = number(group, "cpuacct.usage"),
            "pids" => {
                counters.forks_refused = keyed_number(group, "pids.events", "max");
                counters.processes_peak = number(group, "pids.peak");
            }
            _ => {}
        }
    }
}
