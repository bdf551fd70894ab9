//! What an image must not have: what a package manager needs, what tells when and where it was built, what gives power.

use super::BuildError;
use crate::images::beneath::{beneath, make_directory, remove};
use crate::images::pattern;
use crate::images::tar::{OPEN_MODE, ROOT_TIME, plain_mode};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Every cell has these of its own: empty in an image, and always there.
const OWN: [&str; 6] = ["dev", "proc", "sys", "run", "tmp", "workspace"];

/// Emptied after a build: nothing of a service's life.
const EMPTIED: [&str; 14] = [
    "boot",
    "home",
    "media",
    "mnt",
    "root",
    "srv",
    "var/backups",
    "var/cache",
    "var/lib/apt",
    "var/log",
    "var/mail",
    "var/spool",
    "var/tmp",
    "var/lib/systemd",
];

/// Taken out after a build: documentation (licences stay), and what only installing needs.
const REMOVED: [&str; 20] = [
    "etc/apt/apt.conf.d/01autoremove",
    "etc/**/*.dpkg-old",
    "etc/ssh/ssh_host_*",
    "usr/lib/**/__pycache__",
    "usr/local/lib/**/__pycache__",
    "usr/share/**/__pycache__",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc-base",
    "usr/share/doc/*/*",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/menu",
    "usr/share/pixmaps",
    "usr/share/python-wheels",
    "usr/share/zsh",
    "usr/share/applications",
    "var/lib/dpkg/*",
];

/// Kept although a pattern above means it.
const KEPT: [&str; 2] = ["usr/share/doc/*/copyright", "var/lib/dpkg/status"];

/// Names of machines and users, and what goes with them. The files that every cell has are written anew.
const IDENTITIES: [&str; 13] = [
    "etc/.pwd.lock",
    "etc/fstab",
    "etc/group-",
    "etc/gshadow",
    "etc/gshadow-",
    "etc/machine-id",
    "etc/passwd-",
    "etc/security/opasswd",
    "etc/shadow",
    "etc/shadow-",
    "etc/subgid",
    "etc/subuid",
    "var/lib/dbus/machine-id",
];

/// Takes out what a build left and what its definition names.
pub(super) fn clean_built(root: &Path, more: &[String]) -> Result<(), BuildError> {
    for directory in EMPTIED {
        if let Some(path) = beneath(root, directory) {
            empty(&path).map_err(BuildError::io("empty", &path))?;
        }
    }
    let patterns: Vec<&str> = REMOVED
        .into_iter()
        .chain(more.iter().map(String::as_str))
        .collect();
    remove_matching(root, Path::new(""), &patterns).map_err(BuildError::io("clean", root))?;
    clean_any(root)
}

/// Takes out what no image may have, wherever it came from.
pub(super) fn clean_any(root: &Path) -> Result<(), BuildError> {
    for file in IDENTITIES {
        if let Some(path) = beneath(root, file) {
            remove(&path).map_err(BuildError::io("remove", &path))?;
        }
    }
    for directory in OWN {
        let made = make_directory(root, directory).and_then(|path| empty(&path));
        made.map_err(BuildError::io("empty", root.join(directory)))?;
    }
    Ok(())
}

/// Removes what is in a directory. A link in its place is left alone: what it points to may be the host's.
fn empty(directory: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(directory)?.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory)? {
        remove(&entry?.path())?;
    }
    Ok(())
}

fn remove_matching(root: &Path, below: &Path, patterns: &[&str]) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kept = KEPT.iter().any(|pattern| pattern::matches(pattern, &path));
        if !kept && patterns.iter().any(|pattern| pattern::matches(pattern, &path)) {
            remove(&entry.path())?;
        } else if entry.file_type()?.is_dir() {
            remove_matching(root, &path, patterns)?;
        }
    }
    Ok(())
}

/// The one owner, the two modes and the one time that files of an image have: readable for everybody, without any setuid bit.
/// What is no file, directory or link is taken out.
pub(super) fn settle(root: &Path) -> Result<(), BuildError> {
    settle_entry(root).map_err(BuildError::io("settle", root))
}

fn settle_entry(path: &Path) -> io::Result<()> {
    let found = std::fs::symlink_metadata(path)?;
    let kind = found.file_type();
    if !(kind.is_dir() || kind.is_file() || kind.is_symlink()) {
        return std::fs::remove_file(path);
    }
    if nix::unistd::geteuid().is_root() {
        // Before the mode: a change of owner takes bits away.
        std::os::unix::fs::lchown(path, Some(0), Some(0))?;
    }
    if kind.is_symlink() {
        return Ok(());
    }
    let mode = if kind.is_dir() {
        OPEN_MODE
    } else {
        plain_mode(found.permissions().mode())
    };
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    if kind.is_dir() {
        for entry in std::fs::read_dir(path)? {
            settle_entry(&entry?.path())?;
        }
    }
    let opened = File::options()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits() | nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)?;
    opened.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(ROOT_TIME))
}

/// Bytes of the files below.
pub(super) fn size_of(root: &Path) -> io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let found = entry.metadata()?;
        size += if found.is_dir() {
            size_of(&entry.path())?
        } else {
            found.len()
        };
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn write(root: &Path, path: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }

    #[test]
    fn caches_logs_identities_and_documentation_go_and_licences_stay() {
        let root = tempfile::tempdir().unwrap();
        let gone = [
            "var/cache/apt/pkgcache.bin",
            "var/lib/apt/lists/x",
            "var/log/dpkg.log",
            "etc/machine-id",
            "etc/shadow",
            "etc/ssh/ssh_host_rsa_key",
            "usr/lib/python3/dist-packages/__pycache__/a.pyc",
            "usr/share/doc/bash/README",
            "usr/share/man/man1/x",
            "var/lib/dpkg/info/x.list",
            "root/.bash_history",
            "tmp/x",
            "dev/x",
            "opt/games/x",
        ];
        let stays = [
            "usr/share/doc/bash/copyright",
            "var/lib/dpkg/status",
            "usr/bin/x",
            "opt/tools/x",
            "usr/lib/locale/C.utf8/LC_CTYPE",
        ];
        for path in gone.iter().chain(&stays) {
            write(root.path(), path);
        }
        clean_built(root.path(), &["opt/g*".to_owned()]).unwrap();
        for path in gone {
            assert!(!root.path().join(path).exists(), "{path}");
        }
        for path in stays {
            assert!(root.path().join(path).exists(), "{path}");
        }
        for directory in OWN {
            assert!(root.path().join(directory).is_dir(), "{directory}");
        }
    }

    #[test]
    fn cleaning_never_leaves_the_root_file_system() {
        let place = tempfile::tempdir().unwrap();
        let (host, root) = (place.path().join("host"), place.path().join("root"));
        for path in ["cache/x", "log/x", "x", "lib/dpkg/x"] {
            write(&host, path);
        }
        std::fs::create_dir_all(root.join("usr/share")).unwrap();
        symlink(&host, root.join("var")).unwrap();
        symlink(&host, root.join("root")).unwrap();
        symlink(&host, root.join("tmp")).unwrap();
        symlink(&host, root.join("usr/share/man")).unwrap();
        clean_built(&root, &["usr/**/x".to_owned()]).unwrap();
        settle(&root).unwrap();
        for path in ["cache/x", "log/x", "x", "lib/dpkg/x"] {
            assert!(host.join(path).exists(), "{path}");
        }
        assert_ne!(
            std::fs::metadata(host.join("x")).unwrap().mtime(),
            i64::try_from(ROOT_TIME).unwrap()
        );
        assert!(std::fs::symlink_metadata(root.join("tmp")).unwrap().is_dir());
    }

    #[test]
    fn files_of_an_image_have_two_modes_one_time_and_no_power() {
        let root = tempfile::tempdir().unwrap();
        for (path, mode) in [
            ("bin/su", 0o4755),
            ("bin/wall", 0o2711),
            ("secret", 0o600),
            ("write", 0o666),
        ] {
            write(root.path(), path);
            std::fs::set_permissions(root.path().join(path), Permissions::from_mode(mode)).unwrap();
        }
        nix::unistd::mkfifo(&root.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::set_permissions(root.path().join("bin"), Permissions::from_mode(0o2700)).unwrap();
        settle(root.path()).unwrap();
        for (path, mode) in [
            ("bin/su", 0o755),
            ("bin/wall", 0o755),
            ("secret", 0o644),
            ("write", 0o644),
            ("bin", 0o755),
        ] {
            let found = std::fs::metadata(root.path().join(path)).unwrap();
            assert_eq!(found.mode() & 0o7777, mode, "{path}");
            assert_eq!(found.mtime(), i64::try_from(ROOT_TIME).unwrap(), "{path}");
        }
        assert!(!root.path().join("pipe").exists());
    }
}
