//! Paths in a root file system that nobody has looked at yet: a link in it may point to the host's own files, so no part of
//! a path is followed through one.

use std::io;
use std::path::{Component, Path, PathBuf};

/// The path of `inside`, if it is there and every directory above it is a real one.
pub(super) fn beneath(root: &Path, inside: impl AsRef<Path>) -> Option<PathBuf> {
    let mut path = root.to_owned();
    let mut parts = inside.as_ref().components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else {
            return None;
        };
        path.push(name);
        let found = std::fs::symlink_metadata(&path).ok()?;
        if parts.peek().is_some() && !found.is_dir() {
            return None;
        }
    }
    Some(path)
}

/// A real directory at `inside`: what was there instead is removed, what is missing above it is made.
pub(super) fn make_directory(root: &Path, inside: impl AsRef<Path>) -> io::Result<PathBuf> {
    let mut path = root.to_owned();
    for part in inside.as_ref().components() {
        let Component::Normal(name) = part else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        path.push(name);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => continue,
            Ok(_) => std::fs::remove_file(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        std::fs::create_dir(&path)?;
    }
    Ok(path)
}

/// A file at `inside` with this content, whatever was there.
pub(super) fn write_file(root: &Path, inside: &str, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let inside = Path::new(inside);
    let directory = make_directory(root, inside.parent().unwrap_or(Path::new("")))?;
    let path = directory.join(inside.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    remove(&path)?;
    let mut file = std::fs::File::options().write(true).create_new(true).open(path)?;
    file.write_all(content)
}

/// Removes a file, a link or a whole directory; nothing there is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out_of_a_root_file_system() {
        let place = tempfile::tempdir().unwrap();
        let (host, root) = (place.path().join("host"), place.path().join("root"));
        for directory in [&host, &root] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(host.join("passwd"), "the host's").unwrap();
        symlink(&host, root.join("etc")).unwrap();
        symlink(host.join("passwd"), root.join("file")).unwrap();
        assert_eq!(beneath(&root, "etc/passwd"), None);
        assert_eq!(beneath(&root, "../host/passwd"), None);
        assert_eq!(beneath(&root, "etc"), Some(root.join("etc")), "the link itself");
        write_file(&root, "etc/passwd", b"the image's").unwrap();
        write_file(&root, "file", b"the image's").unwrap();
        assert_eq!(
            std::fs::read_to_string(host.join("passwd")).unwrap(),
            "the host's"
        );
        assert_eq!(
            std::fs::read_to_string(root.join("etc/passwd")).unwrap(),
            "the image's"
        );
        symlink(&host, root.join("gone")).unwrap();
        remove(&root.join("gone")).unwrap();
        assert!(host.join("passwd").exists());
    }
}
