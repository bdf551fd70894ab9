//! What is installed in a root file system: the system's packages and Python's, as their own records say.

use super::beneath::beneath;
use super::meta::Package;
use std::path::{Path, PathBuf};

/// Records are small; a giant one is none.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// Every installed package, in order.
#[must_use]
pub fn installed(root: &Path) -> Vec<Package> {
    let mut packages = system_packages(root);
    for directory in site_directories(root) {
        packages.extend(python_packages(&directory));
    }
    packages.sort();
    packages.dedup();
    packages
}

fn system_packages(root: &Path) -> Vec<Package> {
    let Some(text) = beneath(root, "var/lib/dpkg/status").and_then(|path| read(&path)) else {
        return Vec::new();
    };
    text.split("\n\n")
        .filter(|record| field(record, "Status").is_some_and(|status| status.ends_with(" installed")))
        .filter_map(package)
        .collect()
}

/// Where pip and the system put Python's packages.
pub(super) fn site_directories(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for libraries in ["usr/local/lib", "usr/lib"] {
        let Some(libraries) = beneath(root, libraries) else {
            continue;
        };
        for python in names_in(&libraries).filter(|name| name.starts_with("python3")) {
            for packages in ["dist-packages", "site-packages"] {
                let directory = Path::new(&python).join(packages);
                found.extend(beneath(&libraries, directory).filter(|path| path.is_dir()));
            }
        }
    }
    found.sort();
    found
}

fn python_packages(directory: &Path) -> Vec<Package> {
    names_in(directory)
        .filter(|name| name.ends_with(".dist-info"))
        .filter_map(|name| beneath(directory, Path::new(&name).join("METADATA")))
        .filter_map(|path| read(&path))
        .filter_map(|text| {
            let headers = text.split("\n\n").next()?;
            let name = field(headers, "Name")?;
            let version = field(headers, "Version")?;
            Some(Package {
                name: format!("python:{name}"),
                version: version.to_owned(),
            })
        })
        .collect()
}

fn package(record: &str) -> Option<Package> {
    Some(Package {
        name: field(record, "Package")?.to_owned(),
        version: field(record, "Version")?.to_owned(),
    })
}

fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    record
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

fn names_in(directory: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn read(path: &Path) -> Option<String> {
    let found = std::fs::symlink_metadata(path).ok()?;
    if !found.is_file() || found.len() > RECORD_BYTES_MAX {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_both_kinds_are_found_and_removed_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "var/lib/dpkg/status",
            "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\nPackage: old\nStatus: deinstall ok config-files\nVersion: 1\n",
        );
        write(
            "usr/local/lib/python3.11/dist-packages/numpy-2.4.6.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: numpy\nVersion: 2.4.6\n\nVersion: of the text below\n",
        );
        let package = |name: &str, version: &str| Package {
            name: name.to_owned(),
            version: version.to_owned(),
        };
        assert_eq!(
            installed(root.path()),
            [package("libc6", "2.36-9"), package("python:numpy", "2.4.6")]
        );
    }
}
