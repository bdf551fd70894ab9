//! Whom a store belongs to. Its roots become the file systems of other people's programs, so nobody may be able to change
//! one but root and the user who runs Brig.

use super::ImageError;
use nix::unistd::geteuid;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Group or others may write.
const FOREIGN_WRITE: u32 = 0o022;
/// In such a directory only the owner of an entry can rename or remove it.
const STICKY: u32 = 0o1000;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Of the store.
    Own,
    /// On the way to it: may be shared if entries are protected from each other.
    Above,
}

/// A directory that nobody else can change; `None` where there is none.
pub(super) fn directory(path: &Path) -> Result<Option<()>, ImageError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImageError::io("look at", path)(error)),
    };
    if !found.is_dir() {
        return Err(ImageError::Damaged {
            path: path.to_owned(),
            what: "is not a directory".to_owned(),
        });
    }
    belongs_to_us(path, &found, Place::Own).map(Some)
}

/// A store's own directory, and every one above it: who can rename one of those can put another store in its place. `None`
/// where there is none, or none for this user: the system's may be closed to some, who still have their own.
pub(super) fn store(path: &Path) -> Result<Option<()>, ImageError> {
    if !path.is_absolute() {
        return Err(ImageError::Unsafe {
            path: path.to_owned(),
            what: "is not an absolute path: name the store of images from the root on".to_owned(),
        });
    }
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok(None);
        }
        Err(error) => return Err(ImageError::io("look at", path)(error)),
    };
    for above in real.ancestors().skip(1) {
        let found = std::fs::symlink_metadata(above).map_err(ImageError::io("look at", above))?;
        belongs_to_us(above, &found, Place::Above)?;
    }
    directory(&real)
}

fn belongs_to_us(path: &Path, found: &Metadata, place: Place) -> Result<(), ImageError> {
    ours(found.uid(), found.mode(), geteuid().as_raw(), place).map_err(|what| ImageError::Unsafe {
        path: path.to_owned(),
        what,
    })
}

/// What is wrong with an owner and a mode, to follow the path.
fn ours(owner: u32, mode: u32, us: u32, place: Place) -> Result<(), String> {
    if owner != 0 && owner != us {
        return Err(format!(
            "belongs to user {owner}: a store of images belongs to root or to the user who runs Brig"
        ));
    }
    let shared = mode & FOREIGN_WRITE != 0;
    if shared && (place == Place::Own || mode & STICKY == 0) {
        return Err("can be written to by others: take that away with `chmod go-w`".to_owned());
    }
    Ok(())
}

/// A small file of the store, whole; `None` where there is none.
pub(super) fn read_small(path: &Path, most: u64) -> Result<Option<Vec<u8>>, ImageError> {
    let mut options = OpenOptions::new();
    // Neither a link nor a pipe that nobody writes to can be in the way.
    let flags = nix::fcntl::OFlag::O_NOFOLLOW | nix::fcntl::OFlag::O_NONBLOCK;
    let opened = options.read(true).custom_flags(flags.bits()).open(path);
    let file: File = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImageError::io("open", path)(error)),
    };
    let found = file.metadata().map_err(ImageError::io("look at", path))?;
    let damaged = |what: String| ImageError::Damaged {
        path: path.to_owned(),
        what,
    };
    if !found.is_file() {
        return Err(damaged("is not a regular file".to_owned()));
    }
    belongs_to_us(path, &found, Place::Own)?;
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(ImageError::io("read", path))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(damaged(format!("is larger than {most} bytes")));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_belongs_to_root_or_to_us_and_only_directories_above_it_may_be_shared() {
        let us = 1_000;
        for owner in [0, us] {
            for place in [Place::Own, Place::Above] {
                assert_eq!(ours(owner, 0o40755, us, place), Ok(()));
                assert!(
                    ours(owner, 0o40775, us, place)
                        .unwrap_err()
                        .contains("chmod go-w")
                );
                assert!(
                    ours(owner, 0o40757, us, place)
                        .unwrap_err()
                        .contains("chmod go-w")
                );
            }
            assert_eq!(ours(owner, 0o41777, us, Place::Above), Ok(()));
            assert!(ours(owner, 0o41777, us, Place::Own).is_err());
        }
        let foreign = ours(1_001, 0o40755, us, Place::Above).unwrap_err();
        assert!(foreign.contains("belongs to user 1001"), "{foreign}");
    }
}
