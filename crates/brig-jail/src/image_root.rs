//! An image with a root file system of its own, in a store of the operator's: found by its content's digest alone, shown
//! as it is, read-only.
//!
//! A cell's user may not enter the directories above a store (a home, say). So the keeper opens the root, the process that
//! clones PID 1 goes there, and the entries are named from there: PID 1 starts in it and looks at nothing above.

use crate::image::devices;
use crate::plan::ImageEntry;
use crate::protocol::ImageDigest;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::geteuid;
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where a store keeps root file systems, each under its digest.
const ROOTS: &str = "roots";

const WITHIN: ResolveFlag = ResolveFlag::RESOLVE_BENEATH
    .union(ResolveFlag::RESOLVE_NO_SYMLINKS)
    .union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Every cell has these of its own, or not at all.
const OWN: [&str; 6] = ["dev", "proc", "run", "sys", "tmp", "workspace"];

/// More at the top of a root file system is a mistake.
const ENTRIES_MAX: usize = 64;

/// Opens the root of this content in the first store that has it. A store that is not there, or that this user may not enter,
/// has none.
///
/// ENOENT: no store has it. EPERM: others than root and the keeper's user could change it, or may not read it.
pub(crate) fn open_root(stores: &[PathBuf], digest: ImageDigest) -> nix::Result<OwnedFd> {
    let name = digest.0.iter().fold(String::new(), |mut name, byte| {
        // Writing to a string cannot fail.
        write!(name, "{byte:02x}").ok();
        name
    });
    for store in stores {
        match open_in(store, &name) {
            // Not there, or not for this user.
            Err(Errno::ENOENT | Errno::EACCES) => {}
            opened => return opened,
        }
    }
    Err(Errno::ENOENT)
}

fn open_in(store: &Path, name: &str) -> nix::Result<OwnedFd> {
    let store = ours(open(store, DIRECTORY, Mode::empty())?)?;
    let within = |at: &OwnedFd, name: &str| {
        let how = OpenHow::new().flags(DIRECTORY).resolve(WITHIN);
        openat2(at, name, how).and_then(ours)
    };
    let root = within(&within(&store, ROOTS)?, name)?;
    // Cells have uids of their own: what not everybody may enter they cannot use.
    let everybody = libc::S_IROTH | libc::S_IXOTH;
    if fstat(&root)?.st_mode & everybody == everybody {
        Ok(root)
    } else {
        Err(Errno::EPERM)
    }
}

/// Nobody but root and this user may be able to put another file system in the place.
fn ours(directory: OwnedFd) -> nix::Result<OwnedFd> {
    let FileStat { st_uid, st_mode, .. } = fstat(&directory)?;
    let known = st_uid == 0 || st_uid == geteuid().as_raw();
    if known && st_mode & (libc::S_IWGRP | libc::S_IWOTH) == 0 {
        Ok(directory)
    } else {
        Err(Errno::EPERM)
    }
}

/// The entries of an image with this root, in mount order: its directories, its links, and the devices of every cell.
/// Sources are relative to the root.
pub(crate) fn plan_root(root: BorrowedFd<'_>) -> nix::Result<Vec<ImageEntry>> {
    // Of its own, since reading moves the position.
    let mut listing = Dir::openat(root, ".", DIRECTORY, Mode::empty())?;
    let mut names: Vec<String> = Vec::new();
    for entry in listing.iter() {
        // A name that is no text is none that a program looks for.
        let entry = entry?.file_name().to_str().map(str::to_owned);
        // Hidden ones are nobody's programs either, and one such name is the old root's while a cell is built.
        if let Ok(name) = entry
            && !name.starts_with('.')
            && !OWN.contains(&name.as_str())
        {
            names.push(name);
        }
    }
    if names.len() > ENTRIES_MAX {
        return Err(Errno::E2BIG);
    }
    names.sort();
    let mut entries = Vec::new();
    for name in names {
        entries.extend(plan_entry(root, &name)?);
    }
    entries.extend(devices());
    Ok(entries)
}

/// A directory is bound, a link is made again, everything else is left out.
fn plan_entry(root: BorrowedFd<'_>, name: &str) -> nix::Result<Option<ImageEntry>> {
    let inside = Path::new("/").join(name);
    let mode = fstatat(root, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode & libc::S_IFMT;
    Ok(match mode {
        libc::S_IFDIR => Some(ImageEntry::ReadOnlyBind {
            source: PathBuf::from(name),
            target: inside,
        }),
        libc::S_IFLNK => Some(ImageEntry::Symlink {
            link: inside,
            points_to: PathBuf::from(readlinkat(root.as_fd(), name)?),
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const DIGEST: ImageDigest = ImageDigest([0xab; 32]);

    /// A store with one root that has these directories.
    fn store(directories: &[&str]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let root = root_of(place.path());
        std::fs::create_dir_all(&root).unwrap();
        for name in directories {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        for path in [place.path(), &place.path().join(ROOTS), &root] {
            set_mode(path, 0o755);
        }
        place
    }

    fn root_of(store: &Path) -> PathBuf {
        store.join(ROOTS).join("ab".repeat(32))
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn open_one(store: &Path) -> nix::Result<OwnedFd> {
        open_root(&[store.to_owned()], DIGEST)
    }

    #[test]
    fn the_first_store_that_has_the_content_gives_it_and_one_that_is_not_there_is_none() {
        let (empty, full) = (tempfile::tempdir().unwrap(), store(&["usr"]));
        set_mode(empty.path(), 0o755);
        let stores = [
            PathBuf::from("/no/such/store"),
            empty.path().to_owned(),
            full.path().to_owned(),
        ];
        let root = open_root(&stores, DIGEST).unwrap();
        assert!(fstatat(&root, "usr", AtFlags::empty()).is_ok());
        assert_eq!(
            open_root(&stores, ImageDigest([1; 32])).unwrap_err(),
            Errno::ENOENT
        );
        assert_eq!(open_root(&[], DIGEST).unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn a_root_that_others_can_change_or_cells_cannot_enter_is_refused() {
        let place = store(&["usr"]);
        for path in [
            place.path().to_owned(),
            place.path().join(ROOTS),
            root_of(place.path()),
        ] {
            for mode in [0o775, 0o757, 0o1777] {
                set_mode(&path, mode);
                assert_eq!(
                    open_one(place.path()).unwrap_err(),
                    Errno::EPERM,
                    "{path:?} {mode:o}"
                );
            }
            set_mode(&path, 0o755);
            open_one(place.path()).unwrap();
        }
        set_mode(&root_of(place.path()), 0o700);
        assert_eq!(open_one(place.path()).unwrap_err(), Errno::EPERM);
    }

    #[test]
    fn links_in_a_store_lead_nowhere() {
        let place = store(&["usr"]);
        let root = root_of(place.path());
        std::fs::rename(&root, place.path().join("elsewhere")).unwrap();
        symlink("../elsewhere", &root).unwrap();
        assert_eq!(open_one(place.path()).unwrap_err(), Errno::ELOOP);
    }

    #[test]
    fn directories_are_bound_links_are_made_again_and_what_every_cell_has_of_its_own_is_left_out() {
        let place = store(&[
            "usr",
            "etc",
            "opt",
            "proc",
            "sys",
            "dev",
            "tmp",
            "run",
            "workspace",
            ".old",
        ]);
        let root = root_of(place.path());
        symlink("usr/bin", root.join("bin")).unwrap();
        std::fs::write(root.join("file"), b"").unwrap();
        let planned = plan_root(open_one(place.path()).unwrap().as_fd()).unwrap();
        let bind = |name: &str| ImageEntry::ReadOnlyBind {
            source: PathBuf::from(name),
            target: Path::new("/").join(name),
        };
        let mut wanted = vec![
            ImageEntry::Symlink {
                link: PathBuf::from("/bin"),
                points_to: PathBuf::from("usr/bin"),
            },
            bind("etc"),
            bind("opt"),
            bind("usr"),
        ];
        wanted.extend(devices());
        assert_eq!(planned, wanted);
    }

    #[test]
    fn a_root_with_too_much_at_its_top_is_refused() {
        let names: Vec<String> = (0..=ENTRIES_MAX).map(|number| format!("d{number}")).collect();
        let place = store(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let root = open_one(place.path()).unwrap();
        assert_eq!(plan_root(root.as_fd()).unwrap_err(), Errno::E2BIG);
    }
}
