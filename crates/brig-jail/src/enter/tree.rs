//! Looking things up beneath the workspace, and nowhere else.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::files::{CellPath, DEPTH_MAX, Entry, EntryKind};

/// The workspace of a cell.
pub(super) struct Workspace {
    root: OwnedFd,
}

/// Nothing outside, no link, no magic link.
const BENEATH: ResolveFlag = ResolveFlag::RESOLVE_BENEATH
    .union(ResolveFlag::RESOLVE_NO_SYMLINKS)
    .union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

/// Opening waits for nobody, follows nothing and gives no terminal.
const CAREFUL: OFlag = OFlag::O_CLOEXEC
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

/// So many entries are removed by one request; more is a mistake or an attack on our time.
const REMOVED_MAX: u32 = 1_000_000;

impl Workspace {
    pub(super) fn new(root: OwnedFd) -> Workspace {
        Workspace { root }
    }

    /// The directory itself, for reading (the descriptor from outside is O_PATH).
    pub(super) fn open_root(&self) -> nix::Result<OwnedFd> {
        open_directory(self.root.as_fd(), c".")
    }

    /// A directory below; `None` is the workspace itself.
    pub(super) fn open_directory(&self, path: Option<&[u8]>) -> nix::Result<OwnedFd> {
        match path {
            None => self.open_root(),
            Some(path) => open_directory(self.root.as_fd(), &c_string(path)?),
        }
    }

    /// The directory that an entry is in, and its name there.
    pub(super) fn parent(&self, path: &CellPath) -> nix::Result<(OwnedFd, CString)> {
        let (parent, name) = path.split();
        Ok((self.open_directory(parent)?, c_string(name)?))
    }

    /// Makes a directory with its parents.
    pub(super) fn make_directory(&self, path: &CellPath) -> nix::Result<()> {
        self.make_all(path.as_bytes()).map(drop)
    }

    /// The same for the parents of a path alone.
    pub(super) fn make_parent(&self, path: &CellPath) -> nix::Result<(OwnedFd, CString)> {
        let (parent, name) = path.split();
        let directory = match parent {
            None => self.open_root()?,
            Some(parent) => self.make_all(parent)?,
        };
        Ok((directory, c_string(name)?))
    }

    fn make_all(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let mut directory = self.open_root()?;
        for name in path.split(|byte| *byte == b'/') {
            let name = c_string(name)?;
            match mkdirat(&directory, name.as_c_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
            directory = open_directory(directory.as_fd(), &name)?;
        }
        Ok(directory)
    }

    /// Removes an entry, with everything below it.
    pub(super) fn remove(&self, path: &CellPath) -> nix::Result<()> {
        let (parent, name) = self.parent(path)?;
        let mut budget = REMOVED_MAX;
        remove_entry(parent.as_fd(), &name, DEPTH_MAX * 2, &mut budget)
    }
}

fn remove_entry(parent: BorrowedFd<'_>, name: &CStr, depth: usize, budget: &mut u32) -> nix::Result<()> {
    *budget = budget.checked_sub(1).ok_or(Errno::E2BIG)?;
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) => {}
        other => return other,
    }
    let depth = depth.checked_sub(1).ok_or(Errno::ELOOP)?;
    let directory = open_directory(parent, name)?;
    for child in names(&directory, u32::MAX)?.names {
        remove_entry(directory.as_fd(), &child, depth, budget)?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

pub(super) fn c_string(name: &[u8]) -> nix::Result<CString> {
    CString::new(name).map_err(|_nul| Errno::EINVAL)
}

pub(super) fn open_directory(at: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    open_beneath(
        at,
        name,
        CAREFUL | OFlag::O_RDONLY | OFlag::O_DIRECTORY,
        Mode::empty(),
    )
}

/// Opens a file that was looked at, for reading.
pub(super) fn open_file(at: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    open_beneath(at, name, CAREFUL | OFlag::O_RDONLY, Mode::empty())
}

/// Makes a file that does not exist.
pub(super) fn create_file(at: BorrowedFd<'_>, name: &CStr, mode: Mode) -> nix::Result<OwnedFd> {
    let flags = CAREFUL | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    open_beneath(at, name, flags, mode)
}

/// Opens beneath a directory, following nothing. In a container the kernel may not have `openat2`, or the container's
/// filter may not let it through; what it does in one call is then done name by name.
fn open_beneath(at: BorrowedFd<'_>, path: &CStr, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    match openat2(at, path, OpenHow::new().flags(flags).mode(mode).resolve(BENEATH)) {
        Err(Errno::ENOSYS | Errno::EPERM) => open_by_steps(at, path, flags, mode),
        other => other,
    }
}

/// The same with nothing but `openat`: one plain name at a time, from the directory that the last one opened. So no step
/// can leave through a link, and one that goes up is refused here.
fn open_by_steps(at: BorrowedFd<'_>, path: &CStr, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    if path == c"." {
        return openat(at, path, flags, mode);
    }
    let mut names = path.to_bytes().split(|byte| *byte == b'/').peekable();
    let mut directory: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::EXDEV);
        }
        let from = directory.as_ref().map_or(at, AsFd::as_fd);
        let name = c_string(name)?;
        if names.peek().is_none() && !flags.contains(OFlag::O_DIRECTORY) {
            return openat(from, name.as_c_str(), flags, mode);
        }
        directory = Some(step_into(from, &name)?);
    }
    let directory = directory.ok_or(Errno::ENOENT)?;
    openat(&directory, c".", flags, mode)
}

/// A directory, and nothing that points to one. Not by O_DIRECTORY with O_NOFOLLOW: gVisor follows a link then.
fn step_into(from: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let entry = openat(from, name, flags, Mode::empty())?;
    match kind(&fstat(&entry)?) {
        EntryKind::Directory => Ok(entry),
        EntryKind::File | EntryKind::Link | EntryKind::Other => Err(Errno::ENOTDIR),
    }
}

/// Describes an entry without opening it and without following it.
pub(super) fn look_at(at: BorrowedFd<'_>, name: &CStr) -> nix::Result<FileStat> {
    fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn kind(status: &FileStat) -> EntryKind {
    match status.st_mode & libc::S_IFMT {
        libc::S_IFREG => EntryKind::File,
        libc::S_IFDIR => EntryKind::Directory,
        libc::S_IFLNK => EntryKind::Link,
        _ => EntryKind::Other,
    }
}

pub(super) fn describe(path: &[u8], status: &FileStat) -> Entry {
    Entry {
        path: path.to_vec(),
        kind: kind(status),
        size: u64::try_from(status.st_size).unwrap_or(0),
        mode: u16::try_from(status.st_mode & 0o7777).unwrap_or(0),
        modified: status.st_mtime,
    }
}

/// An open file that is regular and has one name.
pub(super) fn is_plain_file(file: &OwnedFd) -> nix::Result<bool> {
    let status = fstat(file)?;
    Ok(kind(&status) == EntryKind::File && status.st_nlink == 1)
}

/// Names in a directory, sorted, so that the same tree gives the same answer.
pub(super) struct Names {
    pub(super) names: Vec<CString>,
    /// There were more than asked for.
    pub(super) more: bool,
}

pub(super) fn names(directory: &OwnedFd, most: u32) -> nix::Result<Names> {
    let mut listing = Dir::from_fd(open_directory(directory.as_fd(), c".")?)?;
    let mut names = Vec::new();
    let mut more = false;
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if u32::try_from(names.len()).unwrap_or(u32::MAX) >= most {
            more = true;
            break;
        }
        names.push(name.to_owned());
    }
    names.sort();
    Ok(Names { names, more })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// What both ways say of a path: bytes of a file, or why not.
    fn both(root: &OwnedFd, path: &str) -> [Result<(), Errno>; 2] {
        let path = CString::new(path).unwrap();
        let flags = CAREFUL | OFlag::O_RDONLY;
        let how = OpenHow::new().flags(flags).resolve(BENEATH);
        [
            openat2(root, path.as_c_str(), how).map(drop),
            open_by_steps(root.as_fd(), &path, flags, Mode::empty()).map(drop),
        ]
    }

    #[test]
    fn opening_by_steps_opens_and_refuses_what_openat2_does() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "f").unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink("a", root.join("inner")).unwrap();
        symlink("file", root.join("a/b/link")).unwrap();
        let root: OwnedFd = std::fs::File::open(root).unwrap().into();
        for path in [".", "a", "a/b", "a/b/file"] {
            assert_eq!(both(&root, path), [Ok(()); 2], "{path}");
        }
        for path in [
            "out/secret",
            "out",
            "inner/b/file",
            "a/b/link",
            "..",
            "../x",
            "a/../../x",
            "missing",
            "a/b/file/x",
            "/etc/passwd",
        ] {
            let [in_one_call, by_steps] = both(&root, path);
            assert!(
                in_one_call.is_err() && by_steps.is_err(),
                "{path}: {in_one_call:?}, {by_steps:?}"
            );
        }
    }
}
