//! Local files that a job needs: the program's source, its standard input, the files to place.

use crate::job_options::UsageError;
use crate::terminal::{say, visible};
use anyhow::Context;
use brig_core::spec::{FileMode, LIST_MAX, WorkspacePath};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Most bytes read from standard input: what the service would refuse anyway.
const STDIN_MAX: u64 = 1 << 30;

/// Bytes on this side of the wire.
#[derive(Debug)]
pub(crate) enum LocalFile {
    /// At hand.
    Bytes(Vec<u8>),
    /// In a regular file, open.
    Open {
        /// The file.
        file: File,
        /// Its size when it was opened.
        size: u64,
        /// Its permission.
        mode: FileMode,
    },
}

impl LocalFile {
    /// Opens `path`, which must be something that has an end.
    pub(crate) fn of_path(path: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(cannot)?;
        let about = file.metadata().with_context(cannot)?;
        if about.is_dir() {
            return Err(UsageError::new(format!("{} is a directory", path.display())).into());
        }
        if !about.is_file() {
            // A pipe, such as from `<(command)`: its size is known only after it was read.
            let mut bytes = Vec::new();
            file.by_ref()
                .take(STDIN_MAX)
                .read_to_end(&mut bytes)
                .with_context(cannot)?;
            return Ok(Self::Bytes(bytes));
        }
        let executable = about.permissions().mode() & 0o100 != 0;
        let mode = if executable {
            FileMode::Executable
        } else {
            FileMode::Regular
        };
        Ok(Self::Open {
            file,
            size: about.len(),
            mode,
        })
    }

    /// A path, or `-` for brig's own standard input.
    pub(crate) fn of_argument(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            Self::read_stdin()
        } else {
            Self::of_path(path)
        }
    }

    /// The whole of brig's own standard input.
    pub(crate) fn read_stdin() -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .take(STDIN_MAX)
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
        Ok(Self::Bytes(bytes))
    }

    /// How many bytes there are.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Open { size, .. } => *size,
        }
    }

    /// The permission to place it with.
    pub(crate) fn mode(&self) -> FileMode {
        match self {
            Self::Bytes(_) => FileMode::Regular,
            Self::Open { mode, .. } => *mode,
        }
    }
}

/// Every file that `--in` names; directories with everything below them.
pub(crate) fn find(arguments: &[OsString]) -> anyhow::Result<Vec<(WorkspacePath, LocalFile)>> {
    let mut found = Vec::new();
    for argument in arguments {
        let (path, name) = split_name(argument)?;
        if path.as_os_str().is_empty() {
            let text = format!(
                "--in {}: which file? Write it as PATH or PATH:NAME",
                argument.display()
            );
            return Err(UsageError::new(text).into());
        }
        if path.is_dir() {
            add_directory(&path, &name, &mut found)?;
        } else {
            found.push((workspace_path(&name)?, LocalFile::of_path(&path)?));
        }
    }
    Ok(found)
}

/// `PATH[:NAME]`. A path that exists as a whole is a path, whatever colons it has.
fn split_name(argument: &OsStr) -> Result<(PathBuf, String), UsageError> {
    let whole = PathBuf::from(argument);
    let bytes = argument.as_bytes();
    let colon = bytes
        .iter()
        .rposition(|byte| *byte == b':')
        .filter(|_| !whole.exists());
    let (path, name) = match colon {
        Some(at) => (
            PathBuf::from(OsStr::from_bytes(&bytes[..at])),
            OsStr::from_bytes(&bytes[at + 1..]).to_str(),
        ),
        None => {
            // `.` and `dir/..` have no name of their own.
            let named = whole.file_name().map(OsStr::to_owned).or_else(|| {
                whole
                    .canonicalize()
                    .ok()
                    .and_then(|full| full.file_name().map(OsStr::to_owned))
            });
            let name = named.and_then(|name| name.into_string().ok());
            return match name {
                Some(name) => Ok((whole, name)),
                None => Err(UsageError::new(format!(
                    "--in {}: give it a name with :NAME",
                    argument.display()
                ))),
            };
        }
    };
    let name =
        name.ok_or_else(|| UsageError::new(format!("--in {}: the name is not text", argument.display())))?;
    Ok((path, name.strip_prefix("/workspace/").unwrap_or(name).to_owned()))
}

fn workspace_path(name: &str) -> Result<WorkspacePath, UsageError> {
    WorkspacePath::parse(name).map_err(|wrong| UsageError::new(format!("--in: the name {name:?} {wrong}")))
}

/// Regular files below `directory`, in the order of their names. Links and special files are left out: following
/// them could take files along that the caller did not mean.
fn add_directory(
    directory: &Path,
    name: &str,
    found: &mut Vec<(WorkspacePath, LocalFile)>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {}", directory.display());
    let mut entries: Vec<_> = directory
        .read_dir()
        .with_context(cannot)?
        .collect::<Result<_, _>>()
        .with_context(cannot)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().with_context(cannot)?;
        let text = entry.file_name().into_string();
        let part =
            text.map_err(|name| UsageError::new(format!("--in: the name {} is not text", name.display())))?;
        let inside = format!("{name}/{part}");
        if kind.is_dir() {
            add_directory(&entry.path(), &inside, found)?;
        } else if kind.is_file() {
            found.push((workspace_path(&inside)?, LocalFile::of_path(&entry.path())?));
        } else {
            say(format!(
                "--in: {} is left out: neither a file nor a directory; links are not followed",
                visible(&entry.path().display().to_string())
            ));
        }
        if found.len() > LIST_MAX {
            let text = format!(
                "--in {}: more than {LIST_MAX} files; pack them into one archive",
                directory.display()
            );
            return Err(UsageError::new(text).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[(WorkspacePath, LocalFile)]) -> Vec<&str> {
        found.iter().map(|(path, _)| path.as_str()).collect()
    }

    #[test]
    fn a_file_goes_under_its_own_name_or_the_given_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.txt");
        std::fs::write(&file, "x").unwrap();
        let mut named = file.clone().into_os_string();
        named.push(":data/b.txt");
        let found = find(&[file.into_os_string(), named]).unwrap();
        assert_eq!(names(&found), ["a.txt", "data/b.txt"]);
        assert_eq!(found[0].1.size(), 1);
    }

    #[test]
    fn a_path_with_a_colon_that_exists_is_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a:b");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(names(&find(&[file.into_os_string()]).unwrap()), ["a:b"]);
    }

    #[test]
    fn a_directory_brings_its_regular_files_and_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("package");
        std::fs::create_dir_all(package.join("sub")).unwrap();
        std::fs::write(package.join("b.py"), "").unwrap();
        std::fs::write(package.join("sub/a.py"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", package.join("link")).unwrap();
        let found = find(&[package.into_os_string()]).unwrap();
        assert_eq!(names(&found), ["package/b.py", "package/sub/a.py"]);
    }

    #[test]
    fn a_name_outside_the_workspace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "x").unwrap();
        for name in ["../a", "/etc/a", "", "a/../b"] {
            let mut argument = file.clone().into_os_string();
            argument.push(format!(":{name}"));
            assert!(find(&[argument]).is_err(), "{name:?}");
        }
    }
}
