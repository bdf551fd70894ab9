//! Temporary stores of embedded runs that were killed before they could remove them.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// A younger directory may be one whose run is just about to take its lock.
const YOUNG: Duration = Duration::from_secs(60);

/// Removes those of this user in `directory`. Whoever still lives holds the lock of its own.
pub(crate) fn remove(directory: &Path) {
    let uid = nix::unistd::geteuid().as_raw();
    for entry in directory.read_dir().into_iter().flatten().flatten() {
        // By name first: looking at every file of a full directory would cost each run a millisecond.
        if !entry.file_name().as_encoded_bytes().starts_with(b"brig-") {
            continue;
        }
        // Not followed through a link: the directory is one in which anybody can make names.
        let ours = entry
            .metadata()
            .is_ok_and(|about| about.is_dir() && about.uid() == uid && is_old(&about));
        if ours && is_unlocked_store(&entry.path()) {
            // Somebody else may be doing the same; what stays is tried again by the next run.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

fn is_old(about: &Metadata) -> bool {
    about
        .modified()
        .ok()
        .and_then(|then| then.elapsed().ok())
        .is_some_and(|age| age > YOUNG)
}

fn is_unlocked_store(path: &Path) -> bool {
    path.join("brig.db").is_file()
        && File::open(path.join("brig.lock")).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn store(parent: &Path, name: &str, age: Duration) -> std::path::PathBuf {
        let path = parent.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("brig.db"), "").unwrap();
        std::fs::write(path.join("brig.lock"), "").unwrap();
        File::open(&path)
            .unwrap()
            .set_modified(SystemTime::now() - age)
            .unwrap();
        path
    }

    #[test]
    fn only_old_unlocked_stores_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let old = store(parent.path(), "brig-a", 2 * YOUNG);
        let young = store(parent.path(), "brig-b", Duration::ZERO);
        let other = store(parent.path(), "other", 2 * YOUNG);
        let living = store(parent.path(), "brig-c", 2 * YOUNG);
        let lock = File::open(living.join("brig.lock")).unwrap();
        lock.try_lock().unwrap();
        let no_store = parent.path().join("brig-d");
        std::fs::create_dir(&no_store).unwrap();
        remove(parent.path());
        assert!(!old.exists());
        assert!(young.exists() && other.exists() && living.exists() && no_store.exists());
    }
}
