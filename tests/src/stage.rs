//! The staging directory: copies of the program under test and of the corpus that every user can read.

use anyhow::{Context, Result, bail};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where things are; removed on drop.
#[derive(Debug)]
pub struct Stage {
    root: tempfile::TempDir,
    /// The program under test.
    pub brig: PathBuf,
    /// The same built with control arms, where it was built.
    pub arms: Option<PathBuf>,
}

impl Stage {
    /// Copies the program and the corpus.
    ///
    /// # Errors
    /// When the program was not built.
    pub fn set_up() -> Result<Self> {
        let root = tempfile::Builder::new()
            .prefix("brig-tests-")
            .tempdir_in("/tmp")
            .context("no staging directory")?;
        open_to_all(root.path())?;
        let brig = root.path().join("brig");
        copy_program(&built_program()?, &brig)?;
        let arms = match std::env::var_os("BRIG_ARMS_BIN").map(PathBuf::from) {
            Some(built) if built.is_file() => {
                let arms = root.path().join("brig-arms");
                copy_program(&built, &arms)?;
                Some(arms)
            }
            _ => None,
        };
        let stage = Self { root, brig, arms };
        for part in ["programs", "fixtures", "clients", "cpython"] {
            copy_tree(&source(part), &stage.root.path().join(part))?;
        }
        Ok(stage)
    }

    /// A staged file of `tests/`, such as `programs/fork_bomb.py`.
    #[must_use]
    pub fn path(&self, part: &str) -> PathBuf {
        self.root.path().join(part)
    }

    /// An empty directory that the user of a mode owns; removed on drop.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(&self, mode: crate::modes::Mode) -> Result<tempfile::TempDir> {
        let directory = tempfile::Builder::new()
            .prefix("d-")
            .tempdir_in(self.root.path())?;
        open_to_all(directory.path())?;
        if let Some(user) = mode.user() {
            nix::unistd::chown(directory.path(), Some(user.uid), Some(user.gid))?;
        }
        Ok(directory)
    }
}

/// A file or directory of `tests/` in the source tree.
#[must_use]
pub fn source(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(part)
}

/// Where `tests/run` keeps virtual environments and node packages between runs.
#[must_use]
pub fn state() -> Option<PathBuf> {
    let named = std::env::var_os("BRIG_TESTS_STATE").map(PathBuf::from);
    named
        .or_else(|| Some(PathBuf::from("/var/cache/brig-tests")))
        .filter(|path| path.is_dir())
}

/// `BRIG_BIN`, else what cargo built beside this test.
fn built_program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("BRIG_BIN") {
        return Ok(PathBuf::from(named));
    }
    let test = std::env::current_exe()?;
    let beside = test
        .parent()
        .and_then(Path::parent)
        .map(|directory| directory.join("brig"));
    match beside {
        Some(path) if path.is_file() => Ok(path),
        _ => bail!("brig is not built: run tests/run, or cargo build and set BRIG_BIN"),
    }
}

fn copy_program(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("failed to copy {}", from.display()))?;
    open_to_all(to)
}

fn open_to_all(path: &Path) -> Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
        .with_context(|| format!("failed to open {} to all", path.display()))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    open_to_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}
