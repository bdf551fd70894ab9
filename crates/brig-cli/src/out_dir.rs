//! Writing collected files on this machine.
//!
//! Their names were chosen by a program that nobody trusts, so a name never leaves the directory, is never followed
//! through a symbolic link, and replaces a file only where the user clearly meant it.

use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where collected files go.
#[derive(Debug)]
pub(crate) struct OutDir {
    root: OwnedFd,
    path: PathBuf,
    existing: Existing,
}

/// What happens to a file that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is replaced: the user named the directory.
    Replace,
    /// It is kept, unless the user named exactly this file.
    Keep,
}

/// Why a file was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    /// The name could leave the directory or confuse a terminal.
    #[error("its name is not safe on this machine")]
    UnsafeName,
    /// A file of the user is there.
    #[error("a file of that name is already there; name the directory with --out-dir to replace it")]
    Exists,
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl From<nix::Error> for SaveError {
    fn from(errno: nix::Error) -> Self {
        Self::Io(errno.into())
    }
}

/// A file that is being written; it appears under its name when it is complete.
#[derive(Debug)]
pub(crate) struct Saving {
    directory: OwnedFd,
    temporary: String,
    name: String,
    /// Write the bytes here.
    pub(crate) file: File,
    done: bool,
}

impl OutDir {
    /// Opens `path`, making it where it is missing.
    pub(crate) fn open(path: &Path, existing: Existing) -> io::Result<Self> {
        match std::fs::create_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(nix::Error::ENOTDIR.into());
            }
            made => made?,
        }
        let root = OwnedFd::from(File::open(path)?);
        Ok(Self {
            root,
            path: path.to_owned(),
            existing,
        })
    }

    /// The name under which a person finds the file.
    pub(crate) fn shown(&self, name: &str) -> PathBuf {
        if self.path == Path::new(".") {
            PathBuf::from(name)
        } else {
            self.path.join(name)
        }
    }

    /// Starts writing `name`; `wanted` are the patterns that the user gave.
    pub(crate) fn begin(&self, name: &str, wanted: &[&str]) -> Result<Saving, SaveError> {
        let parts = safe_parts(name).ok_or(SaveError::UnsafeName)?;
        let (last, parents) = parts.split_last().ok_or(SaveError::UnsafeName)?;
        let mut directory = self.root.try_clone()?;
        for parent in parents {
            directory = enter(&directory, parent)?;
        }
        let named_exactly = wanted.contains(&name);
        if self.existing == Existing::Keep && !named_exactly && status(&directory, last)?.is_some() {
            return Err(SaveError::Exists);
        }
        let temporary = format!(".brig-{}.part", uuid::Uuid::now_v7().as_simple());
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(
            &directory,
            temporary.as_str(),
            flags,
            Mode::from_bits_truncate(0o666),
        )?;
        Ok(Saving {
            directory,
            temporary,
            name: (*last).to_owned(),
            file: File::from(file),
            done: false,
        })
    }
}

impl Saving {
    /// Gives the complete file its name. A symbolic link of that name is replaced, not followed.
    pub(crate) fn finish(mut self) -> Result<(), SaveError> {
        renameat(
            &self.directory,
            self.temporary.as_str(),
            &self.directory,
            self.name.as_str(),
        )?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        if !self.done {
            // Nothing to tell: the error that brought us here is already on its way.
            unlinkat(
                &self.directory,
                self.temporary.as_str(),
                UnlinkatFlags::NoRemoveDir,
            )
            .ok();
        }
    }
}

/// Opens the subdirectory `name`, making it where it is missing; a symbolic link is refused.
fn enter(directory: &OwnedFd, name: &str) -> Result<OwnedFd, SaveError> {
    match mkdirat(directory, name, Mode::from_bits_truncate(0o777)) {
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

fn status(directory: &impl AsFd, name: &str) -> Result<Option<FileStat>, SaveError> {
    match fstatat(directory, OsStr::new(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(Some(status)),
        Err(nix::Error::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The parts of a relative path that stays below its directory.
fn safe_parts(name: &str) -> Option<Vec<&str>> {
    if name.chars().any(char::is_control) || name.len() > 4_096 {
        return None;
    }
    let parts: Vec<&str> = name.split('/').collect();
    parts
        .iter()
        .all(|part| !matches!(*part, "" | "." | ".."))
        .then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn save(out: &OutDir, name: &str, wanted: &[&str]) -> Result<(), SaveError> {
        let mut saving = out.begin(name, wanted)?;
        saving.file.write_all(b"new")?;
        saving.finish()
    }

    #[test]
    fn a_file_appears_under_its_name_with_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutDir::open(&dir.path().join("made"), Existing::Replace).unwrap();
        save(&out, "a/b/c.txt", &[]).unwrap();
        assert_eq!(std::fs::read(dir.path().join("made/a/b/c.txt")).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path().join("made/a/b")).unwrap().count(), 1);
    }

    #[test]
    fn a_name_cannot_leave_the_directory_or_reach_the_terminal() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutDir::open(dir.path(), Existing::Replace).unwrap();
        for name in [
            "",
            "..",
            "../x",
            "/etc/x",
            "a/../../x",
            "a//b",
            "./a",
            "a/",
            "a\u{1b}[2J",
            "a\0b",
        ] {
            assert!(
                matches!(out.begin(name, &[]), Err(SaveError::UnsafeName)),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_link_is_neither_followed_nor_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        std::fs::write(&victim, "old").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("sub")).unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("link")).unwrap();
        let out = OutDir::open(dir.path(), Existing::Replace).unwrap();
        assert!(save(&out, "sub/victim", &[]).is_err());
        save(&out, "link", &[]).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"old");
        assert_eq!(std::fs::read(dir.path().join("link")).unwrap(), b"new");
    }

    #[test]
    fn a_file_that_the_user_did_not_name_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), "old").unwrap();
        let out = OutDir::open(dir.path(), Existing::Keep).unwrap();
        assert!(matches!(save(&out, "mine", &["*"]), Err(SaveError::Exists)));
        assert_eq!(std::fs::read(dir.path().join("mine")).unwrap(), b"old");
        save(&out, "mine", &["mine"]).unwrap();
        assert_eq!(std::fs::read(dir.path().join("mine")).unwrap(), b"new");
        save(&out, "other", &["*"]).unwrap();
    }

    #[test]
    fn an_incomplete_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutDir::open(dir.path(), Existing::Replace).unwrap();
        drop(out.begin("a", &[]).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
