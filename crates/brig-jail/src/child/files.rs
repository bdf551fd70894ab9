//! Landlock: what the program may do with which files, also if the mounts were wrong.

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::path::Path;

use super::{Step, at};
use crate::plan::{DisabledLayer, JailPlan, Requirement};
use crate::stage::Stage;
use crate::sys::child as sys;

/// The Landlock domain in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fence {
    /// The one whose rights are in force; 0: none.
    pub(super) abi: u8,
    /// Everything that this ABI has is enforced.
    pub(super) full: bool,
}

/// The oldest ABI with everything that Brig insists on (Debian 12's kernel has it).
const ABI_REQUIRED: i32 = 2;

/// The newest ABI whose rights this file knows: truncate (3), ioctl on devices (5), scopes (6).
const ABI_KNOWN: i32 = 7;

/// Restricts this process, for good.
pub(super) fn restrict(plan: &JailPlan) -> Step<Fence> {
    let none = Fence { abi: 0, full: false };
    if !plan.has(DisabledLayer::Landlock) {
        return Ok(none);
    }
    let kernel = sys::landlock_abi();
    if kernel < ABI_REQUIRED {
        return match plan.landlock.requirement {
            Requirement::Required => Err(at(Stage::Files, 0)(Errno::EOPNOTSUPP)),
            Requirement::Optional => Ok(none),
        };
    }
    let known = kernel.min(ABI_KNOWN);
    let ruleset = create(ABI::from(known)).map_err(|error| ruleset_failure(0, &error))?;
    let ruleset = grant(ruleset, plan, ABI::from(known))?;
    let status = ruleset
        .restrict_self()
        .map_err(|error| ruleset_failure(0, &error))?;
    let full = status.ruleset == RulesetStatus::FullyEnforced;
    // Every right was demanded, so anything less is a disagreement about what the kernel can.
    if !full || !status.no_new_privs {
        return Err(at(Stage::Files, 0)(Errno::EOPNOTSUPP));
    }
    let abi = u8::try_from(known).unwrap_or(0);
    Ok(Fence { abi, full })
}

/// A rule set that handles everything of this ABI. TCP ports stay free: programs need loopback, and the network
/// namespace is the wall.
fn create(abi: ABI) -> Result<RulesetCreated, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))?;
    let scopes = Scope::from_all(abi);
    let ruleset = if scopes.is_empty() {
        ruleset
    } else {
        ruleset.scope(scopes)?
    };
    ruleset.create()
}

fn grant(mut ruleset: RulesetCreated, plan: &JailPlan, abi: ABI) -> Step<RulesetCreated> {
    let read = AccessFs::from_read(abi);
    // Device nodes are never made in a cell.
    let write = AccessFs::from_all(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let granted = plan.landlock.read_execute.iter().map(|path| (path, read));
    let granted = granted.chain(plan.landlock.read_write.iter().map(|path| (path, write)));
    // Everything that can be seen is the image or the cell's own, so any directory may be listed.
    ruleset = grant_one(ruleset, Path::new("/"), AccessFs::ReadDir.into(), (0, abi))?;
    for (item, (path, access)) in (1u16..).zip(granted) {
        ruleset = grant_one(ruleset, path, access, (item, abi))?;
    }
    Ok(ruleset)
}

/// A path that is missing is a mistake of the plan and fails: left out silently it would show as a refusal that
/// nobody can explain.
fn grant_one(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
    (item, abi): (u16, ABI),
) -> Step<RulesetCreated> {
    let failed = at(Stage::Files, item);
    let parent = PathFd::new(path).map_err(|_missing| failed(Errno::ENOENT))?;
    let status = nix::sys::stat::fstat(parent.as_fd()).map_err(&failed)?;
    let directory = status.st_mode & libc::S_IFMT == libc::S_IFDIR;
    // The rights of directories mean nothing for a file, and the kernel refuses a rule that names them.
    let access = if directory {
        access
    } else {
        access & AccessFs::from_file(abi)
    };
    ruleset
        .add_rule(PathBeneath::new(parent, access))
        .map_err(|error| ruleset_failure(item, &error))
}

fn ruleset_failure(item: u16, error: &RulesetError) -> crate::stage::SetupFailure {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = source {
        let errno = one
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error);
        if let Some(errno) = errno {
            return at(Stage::Files, item)(Errno::from_raw(errno));
        }
        source = one.source();
    }
    at(Stage::Files, item)(Errno::EINVAL)
}
