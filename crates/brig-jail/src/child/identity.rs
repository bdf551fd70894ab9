//! Who the program is: an unprivileged user with nothing but its id, and its resource limits.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{getresgid, getresuid, setgroups, setsid};

use super::{Step, at};
use crate::plan::{AGENT_ID, CellShape, DisabledLayer, JailPlan};
use crate::stage::Stage;
use crate::sys::capabilities::{self, Sets};
use crate::sys::child as sys;

/// Whose identity is made final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdentityKind {
    /// PID 1.
    Init,
    /// The enter-helper, which may have been started without any capability.
    Helper,
    /// The program.
    Program,
    /// The program of a control arm, which keeps the capabilities of its user namespace.
    ProgramWithPower,
}

/// The id that namespaces show for ids without a name in them.
const OVERFLOW_ID: u32 = 65_534;

/// Removes every privilege of this process, for good, and checks that it is so.
pub(crate) fn drop_power(kind: IdentityKind) -> Step<()> {
    check_ids()?;
    match kind {
        IdentityKind::Init | IdentityKind::Program => drop_capabilities()?,
        IdentityKind::Helper if capabilities::get().is_ok_and(|sets| sets == Sets::NONE) => {}
        IdentityKind::Helper => drop_capabilities()?,
        IdentityKind::ProgramWithPower => {}
    }
    nix::sys::prctl::set_no_new_privs().map_err(at(Stage::Identity, 5))?;
    // Dropping capabilities made the process undumpable or not, by the kernel's rules; decide it. exec of a
    // readable program makes it dumpable again, which debuggers and `/proc/self` of the program itself need.
    nix::sys::prctl::set_dumpable(false).map_err(at(Stage::Identity, 6))
}

/// The keeper has set the ids before it executed this program; nothing else may have.
pub(crate) fn check_ids() -> Step<()> {
    let failed = at(Stage::Identity, 0);
    let users = getresuid().map_err(&failed)?;
    let groups = getresgid().map_err(&failed)?;
    let users = [users.real, users.effective, users.saved].map(|id| id.as_raw());
    let groups = [groups.real, groups.effective, groups.saved].map(|id| id.as_raw());
    if users != [AGENT_ID; 3] || groups != [AGENT_ID; 3] {
        return Err(failed(Errno::EPERM));
    }
    match setgroups(&[]) {
        // EPERM: `setgroups` is denied in a namespace with a map of one id. The keeper emptied the list where it
        // may; where it may not (bare rootless) only groups without a name inside can be left.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(at(Stage::Identity, 1)(errno)),
    }
    let left = nix::unistd::getgroups().map_err(at(Stage::Identity, 1))?;
    if left
        .iter()
        .all(|group| matches!(group.as_raw(), AGENT_ID | OVERFLOW_ID))
    {
        Ok(())
    } else {
        Err(at(Stage::Identity, 1)(Errno::EPERM))
    }
}

fn drop_capabilities() -> Step<()> {
    capabilities::limit_bounding(0).map_err(at(Stage::Identity, 2))?;
    capabilities::lock_securebits().map_err(at(Stage::Identity, 3))?;
    let failed = at(Stage::Identity, 4);
    capabilities::clear_ambient().map_err(&failed)?;
    capabilities::set(Sets::NONE).map_err(&failed)?;
    if capabilities::get().map_err(&failed)? == Sets::NONE {
        Ok(())
    } else {
        Err(failed(Errno::EPERM))
    }
}

/// A session and process group of its own, without a terminal; and the ordinary scheduling class, whatever PID 1
/// was given.
pub(crate) fn own_session() -> Step<()> {
    setsid().map_err(at(Stage::Rlimit, 0))?;
    sys::ordinary_priority().map_err(at(Stage::Rlimit, 1))?;
    super::channels::default_signals().map_err(at(Stage::Rlimit, 2))
}

const MIB: u64 = 1024 * 1024;

/// Address space beyond the memory of a process: node, Go and memory allocators reserve far more than they use (node
/// 10 GiB for a WebAssembly memory), and a reservation costs nothing. What it bounds is shared mappings, which the limit
/// on private memory does not count.
const RESERVATIONS: u64 = 16 * 1024 * MIB;

/// What differs between programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProgramLimits {
    pub(crate) file_size_bytes: u64,
    pub(crate) open_files: u64,
    /// `None`: they are not counted here. Where several cells have one uid in one user namespace, the kernel would
    /// count the processes of all of them.
    pub(crate) processes: Option<u64>,
    pub(crate) process_memory_bytes: Option<u64>,
    /// `None`: as it is.
    pub(crate) cpu_seconds: Option<u64>,
}

impl From<&CellShape> for ProgramLimits {
    fn from(shape: &CellShape) -> Self {
        ProgramLimits {
            file_size_bytes: shape.file_size_bytes,
            open_files: shape.open_files,
            processes: Some(shape.processes),
            process_memory_bytes: shape.process_memory_bytes,
            cpu_seconds: Some(shape.cpu_seconds),
        }
    }
}

/// What every limit of a cell is: the item that a failure names it by, the resource, soft, hard.
fn limits(program: &ProgramLimits) -> Vec<(u16, Resource, u64, u64)> {
    let same = |item, resource, value| (item, resource, value, value);
    let mut limits = vec![
        // No core files: they would be the largest thing in the workspace. And not 0: where the host's `core_pattern` is a
        // pipe, as most distributions have it, the kernel starts that program for 0 too, as root and outside of the
        // cell. 1 is what it takes for a crash of such a program itself, and then does nothing.
        same(10, Resource::RLIMIT_CORE, 1),
        same(11, Resource::RLIMIT_FSIZE, program.file_size_bytes),
        same(12, Resource::RLIMIT_NOFILE, program.open_files),
        // 8 MiB is what programs are used to; deep recursion may ask for more of its own memory.
        (15, Resource::RLIMIT_STACK, 8 * MIB, 64 * MIB),
        // Locked memory cannot be reclaimed; nothing in a cell needs it.
        same(16, Resource::RLIMIT_MEMLOCK, 64 * 1024),
        same(17, Resource::RLIMIT_MSGQUEUE, 0),
        same(18, Resource::RLIMIT_SIGPENDING, 4096),
        // No class but the ordinary one: PID 1 has to win against the program.
        same(19, Resource::RLIMIT_NICE, 0),
        same(20, Resource::RLIMIT_RTPRIO, 0),
    ];
    if let Some(processes) = program.processes {
        // PID 1 counts too: it has the same user id in the same namespace.
        limits.push(same(13, Resource::RLIMIT_NPROC, processes.saturating_add(1)));
    }
    if let Some(seconds) = program.cpu_seconds {
        // SIGXCPU first, so that the reason shows; SIGKILL a second later.
        limits.push((14, Resource::RLIMIT_CPU, seconds, seconds.saturating_add(1)));
    }
    if let Some(bytes) = program.process_memory_bytes {
        limits.push(same(21, Resource::RLIMIT_DATA, bytes));
        limits.push(same(22, Resource::RLIMIT_AS, bytes.saturating_add(RESERVATIONS)));
    }
    limits
}

/// Limits of what gVisor does not have: it knows no queues of messages and no scheduling classes, and keeps signals in
/// the memory of the sandbox.
const NOT_EVERYWHERE: [Resource; 4] = [
    Resource::RLIMIT_MSGQUEUE,
    Resource::RLIMIT_SIGPENDING,
    Resource::RLIMIT_NICE,
    Resource::RLIMIT_RTPRIO,
];

/// Which limits are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limits {
    /// Of open files, last: it is also the limit of descriptors that all processes of a user may have under way. Where
    /// cells have the uid of their user, one that fills it would else keep every other cell from reporting.
    OpenFiles,
    /// All the others.
    Others,
}

/// Sets the limits of a jail's program.
pub(super) fn apply_rlimits(plan: &JailPlan, which: Limits) -> Step<()> {
    if !plan.has(DisabledLayer::Rlimits) {
        return Ok(());
    }
    apply_limits(&ProgramLimits::from(&plan.shape), which)
}

/// Sets the limits. Never raises a hard one: where the outer limit is lower, it stays.
pub(crate) fn apply_limits(program: &ProgramLimits, which: Limits) -> Step<()> {
    for (item, resource, soft, hard) in limits(program) {
        if (resource == Resource::RLIMIT_NOFILE) != (which == Limits::OpenFiles) {
            continue;
        }
        let failed = at(Stage::Rlimit, item);
        let outer = getrlimit(resource).map_err(&failed)?;
        let hard = hard.min(outer.1);
        let wanted = (soft.min(hard), hard);
        // In a container the filter is in force already and forbids to set some of them: the engine has to have done it.
        if wanted == outer {
            continue;
        }
        match setrlimit(resource, wanted.0, wanted.1) {
            // Linux lets everybody lower any of them; a kernel that has nothing to limit there does not.
            Err(Errno::EPERM) if NOT_EVERYWHERE.contains(&resource) => {}
            other => other.map_err(&failed)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_1_does_not_use_up_a_process_of_the_program() {
        let shape = CellShape {
            workspace_bytes: 1,
            workspace_files: 1,
            tmp_bytes: 1,
            tmp_files: 1,
            shm_bytes: 1,
            file_size_bytes: 1,
            open_files: 1,
            processes: 64,
            process_memory_bytes: Some(5 * MIB),
            cpu_seconds: 7,
        };
        let limits = limits(&ProgramLimits::from(&shape));
        assert!(limits.contains(&(13, Resource::RLIMIT_NPROC, 65, 65)));
        assert!(limits.contains(&(14, Resource::RLIMIT_CPU, 7, 8)));
        assert!(limits.contains(&(21, Resource::RLIMIT_DATA, 5 * MIB, 5 * MIB)));
    }

    #[test]
    fn every_limit_has_an_item_of_its_own_and_cells_that_share_a_uid_have_none_on_processes() {
        let program = ProgramLimits {
            file_size_bytes: 1,
            open_files: 1,
            processes: None,
            process_memory_bytes: Some(1),
            cpu_seconds: Some(1),
        };
        let limits = limits(&program);
        let items: std::collections::BTreeSet<u16> = limits.iter().map(|(item, ..)| *item).collect();
        assert_eq!(items.len(), limits.len());
        assert!(
            !limits
                .iter()
                .any(|(_, resource, ..)| *resource == Resource::RLIMIT_NPROC)
        );
    }
}
