//! The last steps of an image, whether it was built here or came as an archive.

use super::{BuildError, clean};
use crate::images::beneath::{beneath, make_directory, write_file};
use brig_jail::keeper::identity;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Where interpreters are, the image's own before the system's.
const PYTHONS: [&str; 3] = [
    "/usr/local/bin/python3",
    "/usr/bin/python3",
    "/opt/venv/bin/python3",
];

/// A chain of links longer than this leads nowhere.
const LINKS_MAX: usize = 40;

/// The interpreter of a root file system: the one that was named, or the first of the usual places.
pub(super) fn find_python(root: &Path, named: Option<&str>) -> Result<String, BuildError> {
    let places = named.map_or_else(|| PYTHONS.to_vec(), |named| vec![named]);
    let found = places.iter().find(|place| is_program(root, place));
    found
        .map(|place| (*place).to_owned())
        .ok_or_else(|| BuildError::NoPython {
            looked_for: places.join(", "),
            remedy: "programs in cells are started by Python 3; install it in the image, or say where it is",
        })
}

/// Whether a path leads to a file that may be executed, with links meant as they are inside.
fn is_program(root: &Path, inside: &str) -> bool {
    let mut path = PathBuf::from(inside);
    for _ in 0..LINKS_MAX {
        let Some(step) = resolve_step(root, &path) else {
            return false;
        };
        match step {
            Ok(real) => {
                return std::fs::symlink_metadata(real)
                    .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
            }
            Err(next) => path = next,
        }
    }
    false
}

/// The file itself, or the path to try after the first link on the way.
fn resolve_step(root: &Path, inside: &Path) -> Option<Result<PathBuf, PathBuf>> {
    let mut above = PathBuf::from("/");
    let mut parts = inside.components();
    while let Some(part) = parts.next() {
        match part {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            Component::ParentDir => {
                above.pop();
                continue;
            }
            Component::Normal(name) => above.push(name),
        }
        let real = root.join(above.strip_prefix("/").ok()?);
        if std::fs::symlink_metadata(&real).ok()?.is_symlink() {
            let points_to = std::fs::read_link(&real).ok()?;
            above.pop();
            return Some(Err(above.join(points_to).join(parts.as_path())));
        }
    }
    Some(Ok(root.join(above.strip_prefix("/").ok()?)))
}

/// The files that name users and hosts, as every cell has them, and the time zone.
pub(super) fn write_identity(root: &Path, time_zone: &str) -> Result<(), BuildError> {
    let etc = root.join("etc");
    make_directory(root, "etc").map_err(BuildError::io("make", &etc))?;
    for (name, content) in identity() {
        let file = format!("etc/{name}");
        write_file(root, &file, content.as_bytes()).map_err(BuildError::io("write", root.join(&file)))?;
    }
    let zone = Path::new("usr/share/zoneinfo").join(time_zone);
    if beneath(root, &zone).is_none() {
        // Only the default may be missing: it is what a program gets that finds none.
        if time_zone == "Etc/UTC" {
            return Ok(());
        }
        return Err(BuildError::NoTimeZone(time_zone.to_owned()));
    }
    let link = etc.join("localtime");
    crate::images::beneath::remove(&link)
        .and_then(|()| std::os::unix::fs::symlink(Path::new("/").join(&zone), &link))
        .map_err(BuildError::io("write", &link))?;
    let text = format!("{time_zone}\n");
    write_file(root, "etc/timezone", text.as_bytes()).map_err(BuildError::io("write", etc.join("timezone")))
}

/// Makes an unpacked archive an image: nothing that cells have of their own, the identity of every cell, two modes, one
/// time. Gives its interpreter.
pub(in crate::images) fn finish_import(root: &Path, python: Option<&str>) -> Result<String, BuildError> {
    let interpreter = find_python(root, python)?;
    clean::clean_any(root)?;
    write_identity(root, "Etc/UTC")?;
    clean::settle(root)?;
    Ok(interpreter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_interpreter_is_found_through_links_that_mean_places_inside() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert!(find_python(root, None).is_err());
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        std::fs::create_dir_all(root.join("etc")).unwrap();
        symlink("/etc/alternatives", root.join("etc/alt")).unwrap();
        std::fs::create_dir(root.join("etc/alternatives")).unwrap();
        symlink("/etc/alt/python", root.join("usr/bin/python3")).unwrap();
        symlink("../../usr/bin/python3.11", root.join("etc/alternatives/python")).unwrap();
        assert!(find_python(root, None).is_err(), "a link to nothing, inside");
        let real = root.join("usr/bin/python3.11");
        std::fs::write(&real, "").unwrap();
        assert!(find_python(root, None).is_err(), "no program");
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_python(root, None).unwrap(), "/usr/bin/python3");
        assert!(find_python(root, Some("/opt/python")).is_err());
        symlink("loop", root.join("usr/bin/loop")).unwrap();
        assert!(find_python(root, Some("/usr/bin/loop")).is_err());
    }

    #[test]
    fn the_identity_is_that_of_every_cell_and_never_written_through_a_link() {
        let place = tempfile::tempdir().unwrap();
        let (host, root) = (place.path().join("host"), place.path().join("root"));
        std::fs::create_dir_all(&host).unwrap();
        std::fs::create_dir_all(root.join("usr/share/zoneinfo/Europe")).unwrap();
        std::fs::write(root.join("usr/share/zoneinfo/Europe/Berlin"), "").unwrap();
        symlink(&host, root.join("etc")).unwrap();
        write_identity(&root, "Europe/Berlin").unwrap();
        assert_eq!(std::fs::read_dir(&host).unwrap().count(), 0);
        let read = |name: &str| std::fs::read_to_string(root.join("etc").join(name)).unwrap();
        assert!(read("passwd").contains("agent:x:10001:10001:"));
        assert_eq!(read("hostname"), "cell\n");
        assert_eq!(read("timezone"), "Europe/Berlin\n");
        assert_eq!(
            std::fs::read_link(root.join("etc/localtime")).unwrap(),
            Path::new("/usr/share/zoneinfo/Europe/Berlin")
        );
        let unknown = write_identity(&root, "Mars/Olympus").unwrap_err();
        assert!(unknown.to_string().contains("tzdata"), "{unknown}");
    }
}
