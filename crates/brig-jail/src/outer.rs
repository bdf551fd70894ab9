//! The outer user namespace: one per keeper, mapped once. Every cell's own namespace is nested in it and maps
//! exactly one id.
//!
//! | keeper | map of the outer namespace | a cell's uid on the host |
//! |---|---|---|
//! | root | `0 RANGE 65536` | a slot of the range |
//! | user with subordinate ids | `0 UID 1`, `1 SUB 65535` (newuidmap) | a slot of the subordinate range |
//! | user without (bare rootless) | `0 UID 1` | the user's own |

use crate::embedded::run_quietly;
use crate::keeper::{IdRange, KeeperConfig, KeeperError, UidSource};
use crate::protocol::UidKind;
use crate::remedy::item;
use crate::stage::{SetupFailure, Stage};
use crate::sys::parent as sys;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, getegid, geteuid, read, write};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Keepers of one uid range share it in this many blocks, so that no two live cells have the same uid.
const BLOCKS: u32 = 16;

/// The namespace and the ids in it.
#[derive(Debug)]
pub(crate) struct OuterNamespace {
    namespace: OwnedFd,
    kind: UidKind,
    ids: IdSource,
    /// Why the uid is not distinct although it was looked for.
    pub(crate) missing_uid: Option<SetupFailure>,
}

/// Which ids of the outer namespace cells get.
#[derive(Debug)]
struct IdSource {
    /// The host's id behind the outer namespace's id 1 (or 0 where there is only that).
    host_first: u32,
    /// The slots of this keeper: ids of the outer namespace.
    slots: std::ops::Range<u32>,
    next: u32,
    /// Holds the block of slots against other keepers.
    _claim: Option<OwnedFd>,
}

/// The maps of an outer namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maps {
    Range(IdRange),
    Subordinate { uids: IdRange, gids: IdRange },
    Own,
}

impl OuterNamespace {
    /// Makes the namespace: the best kind that the host and the configuration allow.
    pub(crate) fn open(config: &KeeperConfig) -> Result<Result<OuterNamespace, SetupFailure>, KeeperError> {
        if geteuid().is_root() && config.uid_source == UidSource::Best {
            let range = usable_root_range(config.root_range)?;
            return Ok(OuterNamespace::with(Maps::Range(range), UidKind::RootRange));
        }
        let mut missing = None;
        if config.uid_source == UidSource::Best {
            match subordinate_maps().and_then(|maps| OuterNamespace::with(maps, UidKind::Subordinate)) {
                Ok(outer) => return Ok(Ok(outer)),
                Err(failure) => missing = Some(failure),
            }
        }
        let missing = missing.unwrap_or(failure(Stage::IdMap, item::OWN_UID_CONFIGURED, Errno::EPERM));
        Ok(OuterNamespace::with(Maps::Own, UidKind::Own).map(|mut outer| {
            outer.missing_uid = Some(missing);
            outer
        }))
    }

    fn with(maps: Maps, kind: UidKind) -> Result<OuterNamespace, SetupFailure> {
        let namespace = create_namespace(maps)?;
        let ids = match maps {
            Maps::Range(range) => IdSource::claim(range.first + 1, range.count - 1),
            Maps::Subordinate { uids, gids } => IdSource::claim(uids.first, uids.count.min(gids.count)),
            Maps::Own => IdSource {
                host_first: geteuid().as_raw(),
                slots: 0..1,
                next: 0,
                _claim: None,
            },
        };
        Ok(OuterNamespace {
            namespace,
            kind,
            ids,
            missing_uid: None,
        })
    }

    pub(crate) fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }

    pub(crate) fn kind(&self) -> UidKind {
        self.kind
    }

    /// An id of the outer namespace for a new cell, other than those that are `taken`. Ids are used in turn, so
    /// that one is used again as late as possible.
    pub(crate) fn free_slot(&mut self, taken: impl Fn(u32) -> bool) -> Option<u32> {
        let slots = self.ids.slots.clone();
        if self.kind == UidKind::Own {
            return Some(0);
        }
        for _ in slots.clone() {
            let candidate = self.ids.next;
            self.ids.next = if candidate + 1 < slots.end {
                candidate + 1
            } else {
                slots.start
            };
            if !taken(candidate) {
                return Some(candidate);
            }
        }
        None
    }

    /// The host's uid behind a slot.
    pub(crate) fn host_uid(&self, slot: u32) -> u32 {
        self.ids.host_first.wrapping_add(slot.saturating_sub(1))
    }
}

impl IdSource {
    /// Ids 1 to `count` of the outer namespace are `host_first` and the following of the host. Takes a block of
    /// them that no other live keeper has; when all are taken (or squatted: the names are public), all ids.
    fn claim(host_first: u32, count: u32) -> IdSource {
        let size = count / BLOCKS;
        for block in 0..BLOCKS {
            if let Some(claim) = claim_block(host_first, block) {
                let start = 1 + block * size;
                return IdSource {
                    host_first,
                    slots: start..start + size,
                    next: start,
                    _claim: Some(claim),
                };
            }
        }
        let start = 1 + std::process::id() % count.max(1);
        IdSource {
            host_first,
            slots: 1..count + 1,
            next: start,
            _claim: None,
        }
    }
}

/// An abstract socket name is a lock that the kernel frees with its holder.
fn claim_block(host_first: u32, block: u32) -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let claim = socket(AddressFamily::Unix, SockType::Datagram, flags, None).ok()?;
    let name = format!("brig-uids-{host_first}-{block}");
    bind(claim.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes()).ok()?).ok()?;
    Some(claim)
}

fn failure(stage: Stage, item: u16, errno: Errno) -> SetupFailure {
    SetupFailure {
        stage,
        item,
        errno: errno as i32,
    }
}

/// The configured range, or, for a root that is itself in a user namespace without that range, the upper half
/// of what it has.
fn usable_root_range(range: IdRange) -> Result<IdRange, KeeperError> {
    let own_map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if let Some(substitute) = substitute_range(&own_map, range) {
        return Ok(substitute);
    }
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if overlaps(&text, range) {
            let end = u64::from(range.first) + u64::from(range.count);
            return Err(KeeperError::RangeOverlap {
                first: range.first,
                end,
                file,
            });
        }
    }
    Ok(range)
}

fn substitute_range(own_map: &str, range: IdRange) -> Option<IdRange> {
    let extents: Vec<(u64, u64)> = own_map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u64>);
            let (inside, _outside, count) = (fields.next()?.ok()?, fields.next()?, fields.next()?.ok()?);
            Some((inside, count))
        })
        .collect();
    let (first, end) = (
        u64::from(range.first),
        u64::from(range.first) + u64::from(range.count),
    );
    if extents
        .iter()
        .any(|(inside, count)| *inside <= first && end <= inside + count)
    {
        return None;
    }
    let (inside, count) = extents.into_iter().max_by_key(|(_, count)| *count)?;
    let (first, count) = (
        u32::try_from(inside + count / 2).ok()?,
        u32::try_from(count / 2).ok()?,
    );
    (count > 2 * BLOCKS).then_some(IdRange { first, count })
}

/// Whether a line `NAME:FIRST:COUNT` of a subordinate id file overlaps with the range.
fn overlaps(text: &str, range: IdRange) -> bool {
    let (first, end) = (
        u64::from(range.first),
        u64::from(range.first) + u64::from(range.count),
    );
    entries(text).any(|(_, other)| {
        let (other_first, other_end) = (
            u64::from(other.first),
            u64::from(other.first) + u64::from(other.count),
        );
        first < other_end && other_first < end
    })
}

fn entries(text: &str) -> impl Iterator<Item = (&str, IdRange)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some((
            name,
            IdRange {
                first: first.parse().ok()?,
                count: count.parse().ok()?,
            },
        ))
    })
}

/// The ranges of this user in `/etc/subuid` and `/etc/subgid`.
fn subordinate_maps() -> Result<Maps, SetupFailure> {
    let range = |file: &str| own_range(&std::fs::read_to_string(file).unwrap_or_default());
    let missing = failure(Stage::IdMap, item::NO_SUBORDINATE_RANGE, Errno::ENOENT);
    let uids = range("/etc/subuid").ok_or(missing)?;
    let gids = range("/etc/subgid").ok_or(missing)?;
    Ok(Maps::Subordinate { uids, gids })
}

fn own_range(text: &str) -> Option<IdRange> {
    let uid = geteuid();
    let name = nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map(|user| user.name);
    let number = uid.to_string();
    let (_, range) = entries(text).find(|(owner, range)| {
        (*owner == number || Some(*owner) == name.as_deref()) && range.count > BLOCKS
    })?;
    Some(IdRange {
        first: range.first,
        count: range.count.min(65_535),
    })
}

/// A child makes the namespace and waits in it while we write its maps and open it; then it ends. The
/// namespace lives on by the descriptor.
fn create_namespace(maps: Maps) -> Result<OwnedFd, SetupFailure> {
    let clone_failed = |errno| failure(Stage::Clone, item::OUTER_NAMESPACE, errno);
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).map_err(clone_failed)?;
    let child = match sys::fork_single_threaded().map_err(clone_failed)? {
        ForkResult::Child => {
            drop(ours);
            hold_namespace(&theirs)
        }
        ForkResult::Parent { child } => child,
    };
    drop(theirs);
    let made = map_and_open(&ours, child, maps);
    drop(ours);
    // Only this child: other children do not exist yet, or belong to the loop.
    waitpid(child, None).ok();
    made
}

/// The child: one byte says that the namespace is there, one errno that it is not; the end of the socket ends it.
fn hold_namespace(socket: &OwnedFd) -> ! {
    let answer = unshare(CloneFlags::CLONE_NEWUSER)
        .err()
        .map_or(0, |errno| errno as i32);
    if write(socket, &answer.to_le_bytes()).is_ok() {
        read(socket, &mut [0]).ok();
    }
    sys::exit_now(0)
}

fn map_and_open(socket: &OwnedFd, child: Pid, maps: Maps) -> Result<OwnedFd, SetupFailure> {
    let mut answer = [0; 4];
    let clone_failed = |errno| failure(Stage::Clone, item::OUTER_NAMESPACE, errno);
    read(socket, &mut answer).map_err(clone_failed)?;
    match i32::from_le_bytes(answer) {
        0 => {}
        errno => return Err(clone_failed(Errno::from_raw(errno))),
    }
    write_maps(child, maps)?;
    let path = format!("/proc/{child}/ns/user");
    let namespace = File::open(path).map_err(|error| clone_failed(crate::cgroup::errno_of(&error)))?;
    Ok(OwnedFd::from(namespace))
}

fn write_maps(child: Pid, maps: Maps) -> Result<(), SetupFailure> {
    let (uid, gid) = (geteuid(), getegid());
    match maps {
        Maps::Range(range) => {
            let line = format!("0 {} {}", range.first, range.count);
            write_proc(child, "uid_map", &line)?;
            write_proc(child, "gid_map", &line)
        }
        Maps::Own => {
            write_proc(child, "setgroups", "deny")?;
            write_proc(child, "uid_map", &format!("0 {uid} 1"))?;
            write_proc(child, "gid_map", &format!("0 {gid} 1"))
        }
        Maps::Subordinate { uids, gids } => {
            map_with("newuidmap", child, uid.as_raw(), uids)?;
            map_with("newgidmap", child, gid.as_raw(), gids)
        }
    }
}

fn write_proc(child: Pid, file: &str, value: &str) -> Result<(), SetupFailure> {
    std::fs::write(format!("/proc/{child}/{file}"), value)
        .map_err(|error| failure(Stage::IdMap, item::OUTER_MAP, crate::cgroup::errno_of(&error)))
}

/// `newuidmap PID 0 OWN 1 1 FIRST COUNT`: the setuid helper that checks `/etc/subuid` for us.
fn map_with(program: &str, child: Pid, own: u32, range: IdRange) -> Result<(), SetupFailure> {
    let numbers = [0, own, 1, 1, range.first, range.count];
    let args = std::iter::once(child.to_string()).chain(numbers.iter().map(u32::to_string));
    match run_quietly(Path::new(program), args) {
        Ok(status) if status.success() => Ok(()),
        Ok(_failed) => Err(failure(Stage::IdMap, item::MAP_HELPER_FAILED, Errno::EPERM)),
        Err(error) => Err(failure(
            Stage::IdMap,
            item::MAP_HELPER_MISSING,
            crate::cgroup::errno_of(&error),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: IdRange = IdRange {
        first: 1_000,
        count: 100,
    };

    #[test]
    fn a_range_that_touches_an_entry_overlaps_and_a_neighbour_does_not() {
        assert!(overlaps("ada:1099:5\n", RANGE));
        assert!(overlaps("ada:900:101\n", RANGE));
        assert!(!overlaps("ada:1100:5\nbob:900:100\nbroken line\n", RANGE));
    }

    #[test]
    fn root_on_a_host_uses_the_configured_range() {
        assert_eq!(
            substitute_range("         0          0 4294967295\n", RANGE),
            None
        );
    }

    #[test]
    fn root_in_a_container_without_the_range_uses_the_upper_half_of_its_own() {
        let range = IdRange {
            first: 0x3000_0000,
            count: 65_536,
        };
        let substitute = substitute_range("0 1000 1\n1 100000 65536\n", range);
        assert_eq!(
            substitute,
            Some(IdRange {
                first: 32_769,
                count: 32_768
            })
        );
    }

    #[test]
    fn two_keepers_get_different_blocks() {
        let first = IdSource::claim(4_000_000_001, 1_600);
        let second = IdSource::claim(4_000_000_001, 1_600);
        assert_eq!(first.slots, 1..101);
        assert_eq!(second.slots, 101..201);
    }
}
