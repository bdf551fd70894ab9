//! The adapter for SQLite: how the database is opened, and by whom it is written.

mod change;
mod claimer;
mod error;
mod files;
mod keeper;
mod reader;
mod sql;
mod submitter;
mod writers;

use brig_core::store::StoreError;
use brig_core::{JobId, spec::Durability};
use error::Errors;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use writers::Writers;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Readers at once. Reads are short and SQLite has no use for more.
const READERS: u32 = 3;

/// How long SQLite waits for a lock. Writers wait for each other outside of SQLite, so this covers only what comes
/// from elsewhere: a person with the `sqlite3` shell, a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages of the write-ahead log (4 KiB each) at which a writer folds it into the database. That costs one write a
/// few milliseconds: at SQLite's own 1,000 pages it is 3 in 100 short jobs that pay, at 4,000 fewer than 1. A task
/// of its own for it was measured too, and was worse: its syncs keep the durable writer's waiting.
const CHECKPOINT_PAGES: &str = "4000";

/// The job store in one SQLite file. Holds the lock of its directory for its life.
#[derive(Debug)]
pub struct SqliteStore {
    writers: tokio::sync::Mutex<Writers>,
    readers: SqlitePool,
    errors: Errors,
    /// Jobs claimed through this store that do not ask for power-loss durability. A job that is not here (claimed
    /// before a restart) is ended with the durable writer, which is never wrong.
    process_only: Mutex<HashSet<JobId>>,
    directory: PathBuf,
    _lock: File,
    /// Removed with the store, after the connections above are gone.
    _temporary: Option<tempfile::TempDir>,
}

impl SqliteStore {
    /// Opens the store in `directory`, which is made with mode 0700 where it does not exist, and keeps every other
    /// daemon out of it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another daemon uses it, [`StoreError::Damaged`] when the file is no database.
    pub async fn open(directory: &Path) -> Result<Self, StoreError> {
        let lock = lock_directory(directory)?;
        let speeds = (SqliteSynchronous::Normal, SqliteSynchronous::Full);
        Self::open_locked(directory, lock, speeds, None).await
    }

    /// Opens a store that is removed when it is dropped, for embedded runs. Nothing in it survives the process, so
    /// it never waits for the disk.
    ///
    /// # Errors
    /// As for [`SqliteStore::open`].
    pub async fn open_temporary() -> Result<Self, StoreError> {
        let temporary = tempfile::Builder::new()
            .prefix("brig-")
            .tempdir()
            .map_err(|source| io_error("make a temporary directory", source))?;
        let directory = temporary.path().to_owned();
        let lock = lock_directory(&directory)?;
        let speeds = (SqliteSynchronous::Off, SqliteSynchronous::Off);
        Self::open_locked(&directory, lock, speeds, Some(temporary)).await
    }

    async fn open_locked(
        directory: &Path,
        lock: File,
        (normal, full): (SqliteSynchronous, SqliteSynchronous),
        temporary: Option<tempfile::TempDir>,
    ) -> Result<Self, StoreError> {
        let path = directory.join("brig.db");
        make_private(&path)?;
        let errors = Errors::new(&path);
        let mut writers = Writers::open(
            options(&path).synchronous(normal),
            options(&path).synchronous(full),
        )
        .await
        .map_err(errors.of("open the job store"))?;
        writers
            .migrate(&MIGRATIONS)
            .await
            .map_err(errors.of_migration())?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(1)
            // A local file does not go away, so asking it before each read would only cost a round trip.
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options(&path).read_only(true).create_if_missing(false))
            .await
            .map_err(errors.of("open the job store for reading"))?;
        Ok(Self {
            writers: tokio::sync::Mutex::new(writers),
            readers,
            errors,
            process_only: Mutex::default(),
            directory: directory.to_owned(),
            _lock: lock,
            _temporary: temporary,
        })
    }

    /// The directory, where the daemon keeps the bytes of files too.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Asks SQLite whether the whole file is sound. Reads all of it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first complaint.
    pub async fn check_integrity(&self) -> Result<(), StoreError> {
        let act = "check the job store";
        let complaint: String = sqlx::query_scalar(sql::INTEGRITY)
            .fetch_one(&self.readers)
            .await
            .map_err(self.errors.of(act))?;
        if complaint == "ok" {
            Ok(())
        } else {
            Err(self.errors.damaged(&complaint))
        }
    }

    /// Closes every connection, which folds the write-ahead log into the database. Without it nothing is lost;
    /// the next start only has more to read.
    pub async fn close(self) {
        self.readers.close().await;
        self.writers.into_inner().close().await;
    }

    /// Waits for the turn to write.
    async fn turn(&self) -> tokio::sync::MutexGuard<'_, Writers> {
        self.writers.lock().await
    }

    fn remember_durability(&self, job: JobId, durability: Durability) {
        if durability == Durability::Process {
            self.process_only_jobs().insert(job);
        }
    }

    /// How durable the last record of a claimed job must be. Asked once per attempt, at its end.
    fn forget_durability(&self, job: JobId) -> Durability {
        if self.process_only_jobs().remove(&job) {
            Durability::Process
        } else {
            Durability::PowerLoss
        }
    }

    fn process_only_jobs(&self) -> std::sync::MutexGuard<'_, HashSet<JobId>> {
        // A set of ids is whole after a panic too.
        self.process_only
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    use sqlx::ConnectOptions as _;
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("temp_store", "MEMORY")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .disable_statement_logging()
}

/// Takes the lock that keeps a second daemon away. The kernel releases it when the process ends, however it ends.
fn lock_directory(directory: &Path) -> Result<File, StoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| io_error("make the data directory", source))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("brig.lock"))
        .map_err(|source| io_error("open the lock file of the data directory", source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: directory.display().to_string(),
        }),
        Err(TryLockError::Error(source)) => Err(io_error("lock the data directory", source)),
    }
}

/// Makes the database's file, where it is missing, for its owner alone; SQLite gives the same mode to the files beside it. The
/// directory may have been made by somebody else, for everybody to look into.
fn make_private(database: &Path) -> Result<(), StoreError> {
    let mut open = OpenOptions::new();
    open.create(true).append(true).mode(0o600);
    open.open(database)
        .map(drop)
        .map_err(|source| io_error("make the file of the job store", source))
}

fn io_error(act: &'static str, source: std::io::Error) -> StoreError {
    StoreError::Database {
        act,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_two_writers_differ_in_how_long_they_wait_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path()).await.unwrap();
        let mut writers = store.turn().await;
        // SQLite's numbers: 1 is NORMAL, 2 is FULL.
        for (durability, expected) in [(Durability::Process, 1), (Durability::PowerLoss, 2)] {
            let rows = writers
                .run(durability, sqlx::query("PRAGMA synchronous"))
                .await
                .unwrap();
            assert_eq!(
                crate::row::column::<i64>(&rows[0], "synchronous").unwrap(),
                expected
            );
            let rows = writers
                .run(durability, sqlx::query("PRAGMA foreign_keys"))
                .await
                .unwrap();
            assert_eq!(crate::row::column::<i64>(&rows[0], "foreign_keys").unwrap(), 1);
        }
    }

    #[tokio::test]
    async fn a_job_claimed_before_a_restart_ends_as_durably_as_any() {
        let store = SqliteStore::open_temporary().await.unwrap();
        let (known, unknown) = (JobId::generate(), JobId::generate());
        store.remember_durability(known, Durability::Process);
        assert_eq!(store.forget_durability(known), Durability::Process);
        for job in [known, unknown] {
            assert_eq!(store.forget_durability(job), Durability::PowerLoss);
        }
    }
}
