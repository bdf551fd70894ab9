//! The daemon gives up what it does not need, before it has threads and before it reads a byte from the network:
//! it can then read and write its own data, talk on the sockets that it holds, and nothing else.
//!
//! | layer | what is left |
//! |---|---|
//! | capabilities | none, for ever (`no_new_privs`) |
//! | Landlock | read and write the data directory, read its own process and randomness; no new TCP listener or connection; no signal to and no abstract socket of other processes |
//! | seccomp | the calls of a threaded server with SQLite; no program is executed, no process made, no socket opened, no memory made executable, no file's mode or owner changed |

mod broker;
mod calls;

pub use broker::confine_broker;

use crate::bpf::{Architecture, foreign_abi};
use crate::protocol::LayerState;
use crate::sys::capabilities::{self, Sets};
use crate::sys::child::{FilterKind, install_filter, landlock_abi};
use crate::sys::parent as sys;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::errno::Errno;
use std::path::{Path, PathBuf};

/// The newest ABI whose rights this file knows.
const ABI_KNOWN: i32 = 7;

/// What a server reads of the system, where it is there: its own process (how many processors it may use), and
/// randomness for SQLite. Kernels before 6.2 let Landlock's right to read truncate too, so nothing else is here.
const SYSTEM_FILES: [&str; 2] = ["/proc/self", "/dev/urandom"];

/// What the daemon keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonConfinement {
    /// Directories and files that it reads and writes: the data directory.
    pub writable: Vec<PathBuf>,
    /// Further directories and files that it reads.
    pub readable: Vec<PathBuf>,
}

/// What is in force afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined {
    /// The Landlock domain.
    pub landlock: LayerState,
    /// The kernel's ABI of Landlock; 0 without.
    pub landlock_abi: u8,
    /// Calls that the filter allows.
    pub allowed_calls: usize,
}

/// Why the daemon could not be confined. It must not go on.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Threads exist already; they would stay unconfined.
    #[error("the daemon must confine itself before it has threads, but this process has {0}")]
    Threads(usize),
    /// A step failed.
    #[error("failed to {act}")]
    Step {
        /// What.
        act: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The Landlock domain could not be built.
    #[error("failed to restrict files with Landlock")]
    Landlock(#[source] RulesetError),
    /// A path of the confinement cannot be opened.
    #[error("failed to keep access to {}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: landlock::PathFdError,
    },
    /// The filter did not compile: a bug in this build.
    #[error("failed to compile the daemon's filter")]
    Filter(#[source] seccompiler::BackendError),
}

fn step(act: &'static str) -> impl Fn(Errno) -> ConfineError {
    move |errno| ConfineError::Step {
        act,
        source: errno.into(),
    }
}

/// Gives up every capability of this thread, for ever: all sets, the ambient and the bounding set.
fn drop_capabilities() -> nix::Result<()> {
    capabilities::clear_ambient()?;
    match capabilities::limit_bounding(0) {
        // EPERM: an unprivileged process has no right to shrink its bounding set, and with `no_new_privs` no use of
        // a larger one.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    capabilities::set(Sets::NONE)
}

/// Confines this process for good. Listeners, the store's directory and the keeper's link are open or named before.
pub fn confine_daemon(confinement: &DaemonConfinement) -> Result<Confined, ConfineError> {
    let threads = sys::thread_count();
    if threads != 1 {
        return Err(ConfineError::Threads(threads));
    }
    nix::sys::prctl::set_no_new_privs().map_err(step("set no_new_privs"))?;
    drop_capabilities().map_err(step("drop capabilities"))?;
    // Nobody of the same uid may look into the process that holds every job's data.
    nix::sys::prctl::set_dumpable(false).map_err(step("become undumpable"))?;
    let (landlock, landlock_abi) = restrict_files(confinement)?;
    let allowed_calls = restrict_calls()?;
    Ok(Confined {
        landlock,
        landlock_abi,
        allowed_calls,
    })
}

/// A kernel without Landlock leaves the layer out: the daemon has no power to lose there, and the cells' own
/// requirement is checked for each of them.
fn restrict_files(confinement: &DaemonConfinement) -> Result<(LayerState, u8), ConfineError> {
    let kernel = landlock_abi();
    if kernel < 1 {
        return Ok((LayerState::Missing, 0));
    }
    let abi = ABI::from(kernel.min(ABI_KNOWN));
    let mut ruleset = create(abi).map_err(ConfineError::Landlock)?;
    // Making devices and executing are never needed.
    let write = AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::Execute);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in &confinement.writable {
        ruleset = grant(ruleset, path, write, Missing::IsAnError)?;
    }
    for path in &confinement.readable {
        ruleset = grant(ruleset, path, read, Missing::IsAnError)?;
    }
    for path in SYSTEM_FILES {
        ruleset = grant(ruleset, Path::new(path), read, Missing::IsFine)?;
    }
    ruleset = grant(
        ruleset,
        Path::new("/dev/null"),
        read | AccessFs::WriteFile,
        Missing::IsFine,
    )?;
    let status = ruleset.restrict_self().map_err(ConfineError::Landlock)?;
    Ok((enforced(&status.ruleset), u8::try_from(kernel).unwrap_or(u8::MAX)))
}

fn enforced(status: &RulesetStatus) -> LayerState {
    match status {
        RulesetStatus::FullyEnforced => LayerState::Active,
        RulesetStatus::PartiallyEnforced => LayerState::Partial,
        RulesetStatus::NotEnforced => LayerState::Missing,
    }
}

/// Handles every right of this ABI. No rule ever grants a TCP port: the listeners are bound already, and the daemon
/// calls nobody.
fn create(abi: ABI) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    let ports = AccessNet::from_all(abi);
    if !ports.is_empty() {
        ruleset = ruleset.handle_access(ports)?;
    }
    let scopes = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    ruleset.create()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsAnError,
    IsFine,
}

fn grant(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
    missing: Missing,
) -> Result<RulesetCreated, ConfineError> {
    let opened = match (PathFd::new(path), missing) {
        (Ok(opened), _) => opened,
        (Err(_absent), Missing::IsFine) => return Ok(ruleset),
        (Err(source), Missing::IsAnError) => {
            return Err(ConfineError::Path {
                path: path.to_owned(),
                source,
            });
        }
    };
    // Rights of directories mean nothing for a file, and a hard requirement would refuse to grant them.
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(ABI::from(ABI_KNOWN))
    };
    let rule = PathBeneath::new(opened, access).set_compatibility(CompatLevel::BestEffort);
    ruleset.add_rule(rule).map_err(ConfineError::Landlock)
}

/// Three filters: other architectures kill, `clone3` does not exist (so that the C library makes threads with
/// `clone`, whose flags a filter can see), the list allows. Everything else is EPERM and not death: a call that
/// the list forgot should fail one operation and not every job.
fn restrict_calls() -> Result<usize, ConfineError> {
    let list = calls::compile(Architecture::HERE, std::process::id()).map_err(ConfineError::Filter)?;
    let install = |program: &[crate::plan::FilterInstruction]| {
        install_filter(program, FilterKind::Plain)
            .map(drop)
            .map_err(step("install a seccomp filter"))
    };
    install(&foreign_abi(Architecture::HERE))?;
    install(&list.no_clone3)?;
    install(&list.allow)?;
    Ok(list.allowed_calls)
}
