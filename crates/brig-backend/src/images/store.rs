//! Writing one store of images. Whatever happens in the middle, a reader finds the old state or the new one.
//!
//! ```text
//!  begin ─▶ NewRoot (a directory beside the others, not yet named) ─▶ publish: description, rename, name
//!                          └─ dropped: removed                        └─ the same content is there already: kept
//! ```

use super::catalog::{NameRecord, find_in, read_name};
use super::{FoundImage, ImageError, ImageMeta, NAMES, ROOTS, RootDigest, check, checked_name};
use brig_core::spec::ImageName;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Roots that are being made: hidden, so that no digest is ever one of them.
const UNFINISHED: &str = ".new-";

/// One store, to be written by one process at a time.
#[derive(Debug)]
pub struct ImageStore {
    directory: PathBuf,
    /// Held as long as this exists.
    _lock: Flock<File>,
}

/// A root file system that is being made. Removed unless it is published.
#[derive(Debug)]
pub struct NewRoot {
    path: PathBuf,
}

impl NewRoot {
    /// Where to put its files.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for NewRoot {
    fn drop(&mut self) {
        // After `publish` nothing is there any more; what cannot be removed now is removed by the next `open`.
        std::fs::remove_dir_all(&self.path).ok();
    }
}

impl ImageStore {
    /// Opens a store for writing, and makes it where it is not there. What an interrupted build left is removed.
    ///
    /// # Errors
    /// It cannot be made, trusted or locked. Another process that writes to it is `Damaged` with the reason.
    pub fn open(directory: &Path) -> Result<Self, ImageError> {
        for path in [directory.to_owned(), directory.join(NAMES), directory.join(ROOTS)] {
            make_directory(&path)?;
        }
        check::store(directory)?;
        for part in [NAMES, ROOTS] {
            check::directory(&directory.join(part))?;
        }
        let store = Self {
            directory: directory.to_owned(),
            _lock: lock(directory)?,
        };
        store.sweep()?;
        Ok(store)
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// An empty directory in which a root file system is made.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn begin(&self) -> Result<NewRoot, ImageError> {
        let roots = self.directory.join(ROOTS);
        let name = format!("{UNFINISHED}{}", uuid::Uuid::now_v7().as_simple());
        let path = roots.join(name);
        make_directory(&path)?;
        Ok(NewRoot { path })
    }

    /// Names a finished root by its content, and gives it the name of its description. The same content is kept once.
    ///
    /// # Errors
    /// The description is wrong, or the file system refuses.
    pub fn publish(&self, root: NewRoot, meta: &ImageMeta) -> Result<FoundImage, ImageError> {
        let name = checked_name(&meta.name)?;
        let roots = self.directory.join(ROOTS);
        let description = roots.join(format!("{}.json", meta.digest));
        let damaged = |what| ImageError::Damaged {
            path: description.clone(),
            what,
        };
        meta.check().map_err(damaged)?;
        set_mode(root.path(), 0o755)?;
        // Before the name: a crash must not leave a name for files that never reached the disk.
        sync_all(root.path())?;
        let target = roots.join(meta.digest.to_string());
        write_whole(&description, meta)?;
        if check::directory(&target)?.is_none() {
            std::fs::rename(root.path(), &target)
                .map_err(ImageError::io("rename a root file system to", &target))?;
        }
        self.set_name(&name, &meta.digest)?;
        self.image(&meta.digest)
    }

    /// Has a name mean this root, whatever it meant before.
    ///
    /// # Errors
    /// There is no such root, or the file system refuses.
    pub fn set_name(&self, name: &ImageName, digest: &RootDigest) -> Result<(), ImageError> {
        let name = checked_name(&name.0)?;
        self.image(digest)?;
        let path = self.directory.join(NAMES).join(format!("{}.json", name.0));
        write_whole(&path, &NameRecord { digest: *digest })
    }

    /// The root that a name of this store means.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn named(&self, name: &ImageName) -> Result<Option<RootDigest>, ImageError> {
        let record = read_name(&self.directory, &checked_name(&name.0)?)?;
        Ok(record.map(|record| record.digest))
    }

    /// Forgets a name; gives the root that it meant. `None`: this store has no such name.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove_name(&self, name: &ImageName) -> Result<Option<RootDigest>, ImageError> {
        let name = checked_name(&name.0)?;
        let Some(record) = read_name(&self.directory, &name)? else {
            return Ok(None);
        };
        let path = self.directory.join(NAMES).join(format!("{}.json", name.0));
        std::fs::remove_file(&path).map_err(ImageError::io("remove", &path))?;
        Ok(Some(record.digest))
    }

    /// Removes a root and its description. Cells that run on it keep the files that they have open and lose the others, so a
    /// caller asks first whether there are any.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn remove_root(&self, digest: &RootDigest) -> Result<(), ImageError> {
        let roots = self.directory.join(ROOTS);
        let description = roots.join(format!("{digest}.json"));
        let root = roots.join(digest.to_string());
        // First out of sight, at one blow, then away.
        let doomed = roots.join(format!("{UNFINISHED}{}", uuid::Uuid::now_v7().as_simple()));
        absent_is_fine(std::fs::remove_file(&description)).map_err(ImageError::io("remove", &description))?;
        absent_is_fine(std::fs::rename(&root, &doomed)).map_err(ImageError::io("remove", &root))?;
        absent_is_fine(std::fs::remove_dir_all(&doomed)).map_err(ImageError::io("remove", &doomed))
    }

    /// Names of this store that mean a root.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn names_of(&self, digest: &RootDigest) -> Result<Vec<String>, ImageError> {
        let mut names = Vec::new();
        for name in super::ImageCatalog::new(vec![self.directory.clone()]).names()? {
            let record = read_name(&self.directory, &ImageName(name.clone()))?;
            if record.is_some_and(|record| record.digest == *digest) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn image(&self, digest: &RootDigest) -> Result<FoundImage, ImageError> {
        find_in(&self.directory, digest)?.ok_or_else(|| ImageError::NoRoot {
            digest: *digest,
            stores: vec![self.directory.clone()],
        })
    }

    /// Whoever began these is gone: the lock is ours.
    fn sweep(&self) -> Result<(), ImageError> {
        for part in [NAMES, ROOTS] {
            let directory = self.directory.join(part);
            let failed = |error| ImageError::io("read", directory.clone())(error);
            for entry in std::fs::read_dir(&directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let unfinished = path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED));
                if !unfinished {
                    continue;
                }
                let removed = if path.is_dir() && !path.is_symlink() {
                    std::fs::remove_dir_all(&path)
                } else {
                    std::fs::remove_file(&path)
                };
                absent_is_fine(removed).map_err(ImageError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

fn absent_is_fine(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Everybody may read an image, whatever the umask says: programs in cells have uids of their own.
fn make_directory(path: &Path) -> Result<(), ImageError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o755).create(path);
    made.map_err(ImageError::io("make", path))?;
    set_mode(path, 0o755)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), ImageError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(ImageError::io("change the mode of", path))
}

fn lock(directory: &Path) -> Result<Flock<File>, ImageError> {
    let path = directory.join(".lock");
    let mut options = File::options();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(&path)
        .map_err(ImageError::io("open", &path))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_file, errno)| {
        if errno == nix::errno::Errno::EWOULDBLOCK {
            return ImageError::Damaged {
                path: directory.to_owned(),
                what: "is being written to by another `brig image`: try again when that has ended".to_owned(),
            };
        }
        ImageError::io("lock", &path)(errno.into())
    })
}

/// Writes a file of the store so that readers find the old one or the new one.
fn write_whole<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), ImageError> {
    let failed = |act| ImageError::io(act, path);
    let directory = path.parent().unwrap_or(Path::new("/"));
    let draft = directory.join(format!("{UNFINISHED}{}", uuid::Uuid::now_v7().as_simple()));
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| failed("write")(error.into()))?;
    text.push(b'\n');
    let mut options = File::options();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o644)
        .open(&draft)
        .map_err(failed("write"))?;
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    drop(file);
    let named = written
        .and_then(|()| std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o644)))
        .and_then(|()| std::fs::rename(&draft, path));
    if named.is_err() {
        std::fs::remove_file(&draft).ok();
    }
    named.map_err(failed("write"))
}

fn sync_all(path: &Path) -> Result<(), ImageError> {
    let failed = ImageError::io("write to disk", path);
    let synced =
        File::open(path).and_then(|directory| nix::unistd::syncfs(&directory).map_err(std::io::Error::from));
    synced.map_err(failed)
}

#[cfg(test)]
mod tests;
