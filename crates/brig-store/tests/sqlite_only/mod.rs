//! What only the SQLite store promises: its directory, its lock, its file, and survival of `kill -9`.

mod crash;
mod words;

use super::conformance::given::{self, AnyStore, at, tenant};
use super::fresh;
use brig_core::spec::{EnvEntry, EnvValue, Secret};
use brig_core::store::{JobReader, JobSubmitter, StoreError};
use brig_store::SqliteStore;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_second_open_is_refused_and_names_the_directory() {
    let (directory, store) = fresh().await;
    let data = directory.path().join("data");
    let refused = SqliteStore::open(&data).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Locked { path } if *path == data.display().to_string()));
    assert!(refused.to_string().contains("--data"));
    // Control: once the first is gone, the next may.
    store.close().await;
    SqliteStore::open(&data).await.unwrap();
}

#[tokio::test]
async fn the_directory_is_made_for_its_owner_alone() {
    let (directory, store) = fresh().await;
    let mode = std::fs::metadata(store.directory()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(store.directory(), directory.path().join("data"));
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone_in_a_directory_for_everybody() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = SqliteStore::open(directory.path()).await.unwrap();
    store.submit(given::job(), at(0)).await.unwrap();
    for name in ["brig.db", "brig.db-wal", "brig.db-shm", "brig.lock"] {
        let mode = std::fs::metadata(directory.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_temporary_store_leaves_nothing_behind() {
    let store = SqliteStore::open_temporary().await.unwrap();
    let directory = store.directory().to_owned();
    store.submit(given::job(), at(0)).await.unwrap();
    assert!(directory.join("brig.db").exists());
    drop(store);
    assert!(!directory.exists());
}

#[tokio::test]
async fn jobs_are_there_after_a_restart() {
    let (directory, store) = fresh().await;
    let id = given::job().id;
    let job = brig_core::store::NewJob { id, ..given::job() };
    store.submit(job, at(5)).await.unwrap();
    let before = store.get(&tenant("default"), id).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(&directory.path().join("data")).await.unwrap();
    assert_eq!(store.get(&tenant("default"), id).await.unwrap(), before);
    store.check_integrity().await.unwrap();
}

#[tokio::test]
async fn no_secret_is_in_the_files() {
    let (_directory, store) = fresh().await;
    let mut job = given::job();
    let entry = |name: &str, value| EnvEntry {
        name: name.into(),
        value,
    };
    job.spec.env = vec![
        entry("TOKEN", EnvValue::Secret(Secret::new("hunter2-secret".into()))),
        entry("PLAIN", EnvValue::Plain("findable-value".into())),
    ];
    store.submit(job, at(0)).await.unwrap();
    let mut everything = Vec::new();
    for name in ["brig.db", "brig.db-wal"] {
        everything.extend(std::fs::read(store.directory().join(name)).unwrap());
    }
    let holds = |text: &str| {
        everything
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(
        holds("findable-value"),
        "control: the search finds what is stored"
    );
    assert!(!holds("hunter2-secret"));
}

/// Opens the store in `data` after `damage`, and gives what it says: at once, or when everything is read.
async fn complaint(data: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> StoreError {
    let file = data.join("brig.db");
    let mut bytes = std::fs::read(&file).unwrap();
    damage(&mut bytes);
    std::fs::write(&file, bytes).unwrap();
    match SqliteStore::open(data).await {
        Err(error) => error,
        Ok(store) => store.check_integrity().await.unwrap_err(),
    }
}

#[tokio::test]
async fn a_damaged_database_says_what_to_do() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 3] = [
        ("no database", |bytes| bytes[..100].fill(b'x')),
        ("cut", |bytes| bytes.truncate(9_000)),
        ("overwritten", |bytes| {
            let end = bytes.len();
            bytes[4_096..end].fill(0xa5);
        }),
    ];
    for (name, damage) in damages {
        let (directory, store) = fresh().await;
        for _ in 0..50 {
            store.submit(given::job(), at(0)).await.unwrap();
        }
        store.close().await;
        let data = directory.path().join("data");
        let error = complaint(&data, damage).await;
        let text = error.to_string();
        assert!(matches!(error, StoreError::Damaged { .. }), "{name}: {error:?}");
        assert!(
            text.contains("backup") && text.contains(&data.display().to_string()),
            "{name}: {text}"
        );
    }
}

/// A caller that goes away in the middle of anything leaves a store that works and half of nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_leave_the_store_whole() {
    let (_directory, store) = fresh().await;
    let concrete = Arc::new(store);
    let store: AnyStore = concrete.clone();
    let mut asked = Vec::new();
    for n in 0..300_u64 {
        let job = given::job();
        asked.push(job.id);
        let submit = store.submit(job, at(0));
        // From nothing at all to long enough.
        let patience = Duration::from_micros(n * 4);
        if tokio::time::timeout(patience, submit).await.is_err() {
            continue;
        }
    }
    let after = given::submitted(&store, given::job(), at(1)).await;
    asked.push(after);
    let mut kept = 0;
    for id in asked {
        if store.get(&tenant("default"), id).await.is_ok() {
            given::whole_history(&store, &tenant("default"), id).await;
            kept += 1;
        }
    }
    assert!(kept >= 1);
    assert_eq!(store.counts().await.unwrap()["queued"], kept);
    concrete.check_integrity().await.unwrap();
}
