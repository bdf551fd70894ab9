//! A root file system as one stream of bytes that depends on nothing but its content.
//!
//! The same stream goes to an engine and into the digest that names the root, so both backends show one thing. What
//! may differ between two builds of the same content is left out: the order in which a directory lists its names,
//! times, owners, and every bit of a mode except whether a file may be executed. Two names of one file are two files.

use super::RootDigest;
use sha2::{Digest as _, Sha256};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// 2000-01-01: the archives of old formats that programs make of the image's files know no earlier year than 1980.
pub const ROOT_TIME: u64 = 946_684_800;

/// Directories, and files that may be executed.
pub const OPEN_MODE: u32 = 0o755;
/// All other files.
pub const PLAIN_MODE: u32 = 0o644;

/// Writes the tree below `root` as a tar archive, and then the files `extra` (path, content, mode) with the
/// directories above them.
///
/// # Errors
/// A file that cannot be read, or one that is neither a directory, a regular file nor a link (named in the error);
/// a writer that fails.
pub fn tar_root(root: &Path, extra: &[(&str, &[u8], u32)], out: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(out);
    append_directory(&mut archive, root, Path::new(""))?;
    let mut made: Vec<PathBuf> = Vec::new();
    for (path, content, mode) in extra {
        let path = Path::new(path.trim_start_matches('/'));
        append_parents(&mut archive, root, path, &mut made)?;
        let mut header = header(EntryType::Regular, *mode);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, *content)?;
    }
    archive.into_inner()?.flush()
}

/// The digest that names the root file system at `root`: SHA-256 over its stream.
///
/// # Errors
/// As [`tar_root`].
pub fn digest_root(root: &Path) -> io::Result<RootDigest> {
    let mut digest = Hashing(Sha256::new());
    tar_root(root, &[], &mut digest)?;
    Ok(RootDigest::new(digest.0.finalize().into()))
}

struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_directory<W: Write>(archive: &mut Builder<W>, root: &Path, below: &Path) -> io::Result<()> {
    let directory = root.join(below);
    let mut names = std::fs::read_dir(&directory)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|error| about(&directory, &error))?;
    names.sort_by_key(std::fs::DirEntry::file_name);
    for name in names {
        let path = below.join(name.file_name());
        let metadata = name.metadata().map_err(|error| about(&name.path(), &error))?;
        append_entry(archive, root, &path, &metadata).map_err(|error| about(&name.path(), &error))?;
        if metadata.is_dir() {
            append_directory(archive, root, &path)?;
        }
    }
    Ok(())
}

fn append_entry<W: Write>(
    archive: &mut Builder<W>,
    root: &Path,
    path: &Path,
    metadata: &Metadata,
) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        return archive.append_data(&mut header(EntryType::Directory, OPEN_MODE), path, io::empty());
    }
    if kind.is_symlink() {
        let points_to = std::fs::read_link(root.join(path))?;
        return archive.append_link(&mut header(EntryType::Symlink, 0o777), path, points_to);
    }
    if !kind.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "is neither a directory, a regular file nor a link",
        ));
    }
    let mut header = header(EntryType::Regular, plain_mode(metadata.permissions().mode()));
    header.set_size(metadata.len());
    let mut content = Exactly {
        left: metadata.len(),
        file: File::open(root.join(path))?,
    };
    archive.append_data(&mut header, path, &mut content)
}

/// The mode that a file of this mode has in a root file system.
#[must_use]
pub fn plain_mode(mode: u32) -> u32 {
    if mode & 0o111 == 0 { PLAIN_MODE } else { OPEN_MODE }
}

fn append_parents<W: Write>(
    archive: &mut Builder<W>,
    root: &Path,
    path: &Path,
    made: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let mut parents: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .filter(|parent| !parent.as_os_str().is_empty())
        .collect();
    parents.reverse();
    for parent in parents {
        if !root.join(parent).is_dir() && !made.iter().any(|other| other == parent) {
            archive.append_data(&mut header(EntryType::Directory, OPEN_MODE), parent, io::empty())?;
            made.push(parent.to_owned());
        }
    }
    Ok(())
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(ROOT_TIME);
    header.set_size(0);
    header
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    // The innermost path is the one that matters: an error that names one already is passed on as it is.
    if error.get_ref().is_some_and(|inner| inner.is::<Named>()) {
        return io::Error::new(error.kind(), Named(error.to_string()));
    }
    io::Error::new(error.kind(), Named(format!("{}: {error}", path.display())))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Named(String);

/// A file that must have the size that its header told: a stream with too few bytes would be read as another tree.
struct Exactly {
    left: u64,
    file: File,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "became shorter while it was read",
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree(names: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("content of {name}")).unwrap();
        }
        symlink("a", root.path().join("link")).unwrap();
        root
    }

    fn entries(root: &Path, extra: &[(&str, &[u8], u32)]) -> Vec<(String, u32, u64, Vec<u8>)> {
        let mut bytes = Vec::new();
        tar_root(root, extra, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            found.push((
                entry.path().unwrap().display().to_string(),
                header.mode().unwrap(),
                header.mtime().unwrap(),
                content,
            ));
        }
        found
    }

    #[test]
    fn the_digest_is_independent_of_order_times_and_modes_that_do_not_matter() {
        let one = tree(&["a", "d/b", "d/c"]);
        let other = tree(&["d/c", "d/b", "a"]);
        let file = File::options().write(true).open(other.path().join("a")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(other.path().join("d"), fs::Permissions::from_mode(0o2711)).unwrap();
        assert_eq!(
            digest_root(one.path()).unwrap(),
            digest_root(other.path()).unwrap()
        );
    }

    #[test]
    fn every_change_of_content_changes_the_digest() {
        let one = tree(&["a", "d/b"]);
        let mut seen = vec![digest_root(one.path()).unwrap()];
        let mut changed = |what: &str| {
            let digest = digest_root(one.path()).unwrap();
            assert!(!seen.contains(&digest), "{what}");
            seen.push(digest);
        };
        fs::write(one.path().join("a"), "Content of a").unwrap();
        changed("a byte");
        fs::set_permissions(one.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        changed("may be executed");
        fs::remove_file(one.path().join("link")).unwrap();
        changed("a link less");
        symlink("d", one.path().join("link")).unwrap();
        changed("a link elsewhere");
        fs::create_dir(one.path().join("d/empty")).unwrap();
        changed("an empty directory");
        fs::rename(one.path().join("d/b"), one.path().join("d/c")).unwrap();
        changed("a name");
    }

    #[test]
    fn the_digest_of_a_tree_never_changes_between_versions() {
        let root = tree(&["a", "d/b"]);
        assert_eq!(
            digest_root(root.path()).unwrap().to_string(),
            "2e2c5105c9d0752b24ecdaeb358b6b89d0d64e51797edcec5c680690ff2331ac"
        );
    }

    #[test]
    fn owners_times_and_special_bits_are_not_in_the_archive() {
        let root = tree(&["a"]);
        fs::set_permissions(root.path().join("a"), fs::Permissions::from_mode(0o6755)).unwrap();
        let found = entries(root.path(), &[("/.brig/init", b"program", 0o755)]);
        assert_eq!(
            found,
            [
                ("a".to_owned(), 0o755, ROOT_TIME, b"content of a".to_vec()),
                ("link".to_owned(), 0o777, ROOT_TIME, Vec::new()),
                (".brig".to_owned(), 0o755, ROOT_TIME, Vec::new()),
                (".brig/init".to_owned(), 0o755, ROOT_TIME, b"program".to_vec()),
            ]
        );
    }

    #[test]
    fn long_names_and_long_links_survive() {
        let root = tempfile::tempdir().unwrap();
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
        fs::create_dir(root.path().join("d".repeat(120))).unwrap();
        fs::write(root.path().join(&long), "x").unwrap();
        symlink(&long, root.path().join("l")).unwrap();
        let mut bytes = Vec::new();
        tar_root(root.path(), &[], &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let points_to = entry.link_name().unwrap().map(|name| name.into_owned());
                (entry.path().unwrap().into_owned(), points_to)
            })
            .collect();
        assert!(found.contains(&(PathBuf::from(&long), None)));
        assert!(found.contains(&(PathBuf::from("l"), Some(PathBuf::from(&long)))));
    }

    #[test]
    fn what_is_no_plain_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("d/s")).unwrap();
        let error = digest_root(root.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("d/s: is neither a directory, a regular file nor a link"),
            "{error}"
        );
    }
}
