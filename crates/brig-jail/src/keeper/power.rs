//! What the keeper may do, and what it gives up: as much as it can, before it reads its first record.
//!
//! As root it needs almost nothing. Whoever made a user namespace holds every capability in it and in those below,
//! by being its owner; groups that root made are root's by their mode. So building, signalling and ending cells takes no
//! capability of the host at all.
//!
//! | when | what is in force |
//! |---|---|
//! | while the outer namespace and the groups are made | [`OPENING`] and what is kept; nothing hostile runs yet |
//! | from then on | [`KEPT`] (and [`KEPT_FOR_GROUPS`] where it is needed), in every set; `no_new_privs`; securebits locked; not dumpable; no call of [`calls::DENIED`] |
//!
//! An ordinary user has no capability to give up; the rest is the same.

pub(crate) mod calls;

use super::host::Host;
use super::{KeeperConfig, KeeperError};
use crate::bpf::Architecture;
use crate::cgroup::CgroupHost;
use crate::sys::capabilities::{self, Sets};
use crate::sys::child::{FilterKind, install_filter};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};

/// A capability, and what fails without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeededCapability {
    /// Its number in the kernel's interface.
    pub number: u8,
    /// Its name without `CAP_`.
    pub name: &'static str,
    /// What it is for.
    pub reason: &'static str,
}

/// What a keeper that runs as root has as long as it lives.
pub const KEPT: &[NeededCapability] = &[NeededCapability {
    number: 23,
    name: "SYS_NICE",
    reason: "raises the scheduling class of a cell's PID 1 when the cell gets its work, so that it runs when it has to end the others",
}];

/// What it keeps besides where its groups are at the top of a tree, whose directory nobody has a right to write, or in
/// a group of somebody else. In a group that root owns (a service of systemd) it goes too.
pub const KEPT_FOR_GROUPS: NeededCapability = NeededCapability {
    number: 1,
    name: "DAC_OVERRIDE",
    reason: "makes the keeper's control groups at the start and removes them at the end",
};

/// What it has besides until the outer user namespace is made and mapped, once, at the start.
pub const OPENING: &[NeededCapability] = &[
    NeededCapability {
        number: 6,
        name: "SETGID",
        reason: "maps the range of group ids into the outer user namespace",
    },
    NeededCapability {
        number: 7,
        name: "SETUID",
        reason: "maps the range of user ids into the outer user namespace",
    },
    NeededCapability {
        number: 21,
        name: "SYS_ADMIN",
        reason: "makes the outer user namespace where a host leaves that to the administrator",
    },
];

const SETPCAP: u8 = 8;

fn mask<'a>(capabilities: impl IntoIterator<Item = &'a NeededCapability>) -> u64 {
    capabilities
        .into_iter()
        .fold(0, |mask, one| mask | 1 << one.number)
}

/// A control arm takes one of them away.
fn without(config: &KeeperConfig) -> u64 {
    if cfg!(feature = "control-arms") {
        config.without_capabilities.iter().fold(0, |mask, number| {
            mask | 1_u64.checked_shl(u32::from(*number)).unwrap_or(0)
        })
    } else {
        0
    }
}

fn failed(act: &'static str) -> impl Fn(Errno) -> KeeperError {
    move |errno| KeeperError::GiveUp {
        act,
        source: errno.into(),
    }
}

/// For the opening of the host: the rest of root's power is out of use. It comes back for a daemon that is executed, which has
/// to bind its addresses and then gives up everything itself.
pub(super) fn narrow(config: &KeeperConfig) -> Result<(), KeeperError> {
    let needed = KEPT.iter().chain(OPENING).chain([&KEPT_FOR_GROUPS]);
    let wanted = mask(needed) & !without(config);
    use_permitted(wanted).map_err(failed("narrow the capabilities"))
}

/// For good. What needed more is done: the host is open, the daemon is started.
pub(super) fn give_up(config: &KeeperConfig, host: &Host) -> Result<(), KeeperError> {
    let for_groups = host.cgroups.as_ref().is_some_and(CgroupHost::needs_override);
    let kept = KEPT.iter().chain(for_groups.then_some(&KEPT_FOR_GROUPS));
    drop_capabilities(mask(kept) & !without(config))?;
    prctl::set_no_new_privs().map_err(failed("set no_new_privs"))?;
    // The daemon may have the same uid. It shall neither trace the keeper nor read its memory.
    prctl::set_dumpable(false).map_err(failed("become undumpable"))?;
    // Control groups are all that it still makes; everybody may look at them.
    umask(Mode::from_bits_truncate(0o022));
    nix::unistd::chdir("/").map_err(failed("leave the working directory"))?;
    let filter = calls::filter(Architecture::HERE);
    match install_filter(&filter, FilterKind::Plain) {
        // Where there is no seccomp at all no cell is ever built, and `doctor` has to say so.
        Ok(_) | Err(Errno::ENOSYS | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(failed("install its filter")(errno)),
    }
}

/// Makes these capabilities, as far as they are permitted, the effective set. The other sets stay.
fn use_permitted(wanted: u64) -> nix::Result<()> {
    let sets = capabilities::get()?;
    capabilities::set(Sets {
        effective: sets.permitted & wanted,
        ..sets
    })
}

fn drop_capabilities(kept: u64) -> Result<(), KeeperError> {
    let held = capabilities::get()
        .map_err(failed("read its capabilities"))?
        .permitted;
    use_permitted(held).map_err(failed("use its capabilities a last time"))?;
    capabilities::clear_ambient().map_err(failed("empty the ambient set"))?;
    // Without SETPCAP the bounding set stays: it means something only at an exec that gains power, and `no_new_privs`
    // rules that out.
    if held & 1 << SETPCAP != 0 {
        capabilities::limit_bounding(kept).map_err(failed("limit the bounding set"))?;
        // Uid 0 means nothing any more, for ever. A new user namespace starts with the default again, so cells are as
        // they were.
        capabilities::lock_securebits().map_err(failed("lock the securebits"))?;
    }
    let left = held & kept;
    let sets = Sets {
        effective: left,
        permitted: left,
        inheritable: 0,
    };
    capabilities::set(sets).map_err(failed("give up capabilities"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_capability_is_named_twice_and_each_has_its_reason() {
        let all: Vec<&NeededCapability> = KEPT.iter().chain(OPENING).chain([&KEPT_FOR_GROUPS]).collect();
        assert_eq!(mask(all.iter().copied()).count_ones() as usize, all.len());
        assert!(all.iter().all(|one| one.reason.len() > 20));
    }

    #[test]
    fn the_threat_model_shows_the_same_table() {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/threat-model.md"))
                .unwrap();
        let row =
            |when: &str, one: &NeededCapability| format!("| `{}` | {when} | {} |", one.name, one.reason);
        let wanted: Vec<String> = KEPT
            .iter()
            .map(|one| row("always", one))
            .chain([row("where its groups need it", &KEPT_FOR_GROUPS)])
            .chain(OPENING.iter().map(|one| row("at the start", one)))
            .collect();
        let moments = ["| always |", "| where its groups need it |", "| at the start |"];
        let is_row = |line: &&str| moments.iter().any(|moment| line.contains(moment));
        let shown: Vec<&str> = text.lines().filter(is_row).collect();
        assert_eq!(shown, wanted);
    }
}
