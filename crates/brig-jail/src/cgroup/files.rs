//! Reading and writing the one-line files of a control group.

use nix::errno::Errno;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// The kernel's error number behind an I/O error.
pub(crate) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Writes one value. Never creates the file: a missing one is a missing feature of the kernel.
pub(crate) fn write(group: &Path, file: &str, value: &str) -> nix::Result<()> {
    let path = group.join(file);
    let mut open = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|error| errno_of(&error))?;
    // One write call: the kernel reads a value from each.
    open.write_all(value.as_bytes()).map_err(|error| errno_of(&error))
}

/// The whole file as one number.
pub(crate) fn number(group: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(group.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The number after `key` in a file of `key number` lines.
pub(crate) fn keyed_number(group: &Path, file: &str, key: &str) -> Option<u64> {
    keyed(&std::fs::read_to_string(group.join(file)).ok()?, key)
}

fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == key {
            value.trim().parse().ok()
        } else {
            None
        }
    })
}

/// Makes a group; one that is already there is used.
pub(crate) fn make(group: &Path) -> nix::Result<()> {
    match std::fs::create_dir(group) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(errno_of(&error)),
    }
}

/// Removes a group; one that is not there is removed.
pub(crate) fn remove(group: &Path) -> nix::Result<()> {
    match std::fs::remove_dir(group) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(errno_of(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_begins_another_key_is_not_confused_with_it() {
        assert_eq!(
            keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"),
            Some(3)
        );
        assert_eq!(keyed("usage_usec 5\nuser_usec 4\n", "user_usec"), Some(4));
        assert_eq!(keyed("max\n", "max"), None);
    }
}
