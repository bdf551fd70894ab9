//! The offers of a catalogue, remembered as long as nothing changes: every request asks for them.

use super::{NAMES, ROOTS};
use brig_core::backend::ImageOffer;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A change in the same tick of the kernel's clock as the look before it would not be seen: what is younger is not remembered.
const SETTLED: Duration = Duration::from_secs(1);

/// What tells of a change in one directory: which it is, and when it, its entries or its mode were changed.
type Mark = Option<(u64, u64, i64, i64)>;

/// What was found, and the directories as they were then.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    seen: Mutex<Option<(Vec<Mark>, Vec<ImageOffer>)>>,
}

impl Remembered {
    /// What `look` finds, or found when the stores were the same.
    pub(super) fn or_look(
        &self,
        stores: &[PathBuf],
        look: impl FnOnce() -> Vec<ImageOffer>,
    ) -> Vec<ImageOffer> {
        // Before the look: what changes during it shows the next time.
        let marks = marks(stores);
        let seen = |seen: &Option<(Vec<Mark>, Vec<ImageOffer>)>| match seen {
            Some((then, offers)) if *then == marks => Some(offers.clone()),
            Some(_) | None => None,
        };
        if let Some(offers) = seen(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
            return offers;
        }
        let offers = look();
        if are_settled(&marks) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen = Some((marks, offers.clone()));
        }
        offers
    }
}

fn marks(stores: &[PathBuf]) -> Vec<Mark> {
    let parts = stores
        .iter()
        .flat_map(|store| [store.clone(), store.join(NAMES), store.join(ROOTS)]);
    parts.map(|part| mark(&part)).collect()
}

fn mark(path: &Path) -> Mark {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

fn are_settled(marks: &[Mark]) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let latest = now.checked_sub(SETTLED).unwrap_or_default();
    let latest = i64::try_from(latest.as_secs()).unwrap_or(i64::MAX);
    marks.iter().flatten().all(|(_, _, changed, _)| *changed < latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn offer() -> Vec<ImageOffer> {
        vec![ImageOffer::host()]
    }

    #[test]
    fn what_has_just_changed_is_looked_at_every_time() {
        let store = tempfile::tempdir().unwrap();
        let looks = Cell::new(0);
        let remembered = Remembered::default();
        for _ in 0..3 {
            let look = || {
                looks.set(looks.get() + 1);
                offer()
            };
            assert_eq!(remembered.or_look(&[store.path().to_owned()], look), offer());
        }
        assert_eq!(looks.get(), 3);
    }

    #[test]
    fn what_has_not_changed_is_looked_at_once_and_any_change_is_seen() {
        let remembered = Remembered::default();
        // A directory that nobody changes, and that holds no store.
        let usr = [PathBuf::from("/usr")];
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            offer()
        };
        remembered.or_look(&usr, look);
        remembered.or_look(&usr, look);
        assert_eq!(looks.get(), 1);
        // Other directories are other images.
        remembered.or_look(&[PathBuf::from("/usr"), PathBuf::from("/")], look);
        assert_eq!(looks.get(), 2);
    }

    #[test]
    fn a_mark_changes_with_entries_and_modes() {
        let store = tempfile::tempdir().unwrap();
        std::fs::create_dir(store.path().join(NAMES)).unwrap();
        let all = |store: &Path| marks(&[store.to_owned()]);
        let before = all(store.path());
        assert_eq!(before.iter().flatten().count(), 2);
        std::fs::create_dir(store.path().join(ROOTS)).unwrap();
        assert_ne!(all(store.path()), before);
        assert!(!are_settled(&before));
        assert!(are_settled(&[None, Some((1, 1, 1_000, 0))]));
    }
}
