//! Errors of the driver → errors of the port, by code and never by text.

use brig_core::store::StoreError;
use sqlx::migrate::MigrateError;
use std::path::Path;

const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;
/// The index beside the log cannot grow to its first size, which is written out: no room for it.
const SQLITE_IOERR_SHMSIZE: u32 = 4874;
const SQLITE_CONSTRAINT_FOREIGNKEY: u32 = 787;

/// Translates errors of one database file.
#[derive(Debug, Clone)]
pub(super) struct Errors {
    path: String,
}

impl Errors {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.display().to_string(),
        }
    }

    /// The error of an act: damage where SQLite says that the file is damaged.
    pub(super) fn of(&self, act: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
        move |error| {
            let code = code(&error);
            match code.map(|code| code & 0xff) {
                Some(SQLITE_CORRUPT | SQLITE_NOTADB) => self.damaged(&error.to_string()),
                Some(SQLITE_FULL) => StoreError::DiskFull,
                _ if code == Some(SQLITE_IOERR_SHMSIZE) => StoreError::DiskFull,
                Some(_) | None => StoreError::Database {
                    act,
                    source: Box::new(error),
                },
            }
        }
    }

    pub(super) fn of_migration(&self) -> impl Fn(MigrateError) -> StoreError + '_ {
        |error| {
            if let MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) = error {
                return self.of("prepare the job store")(error);
            }
            StoreError::Database {
                act: "prepare the job store (was it written by a newer version of brig?)",
                source: Box::new(error),
            }
        }
    }

    pub(super) fn damaged(&self, complaint: &str) -> StoreError {
        let path = &self.path;
        StoreError::Damaged {
            what: format!("the job store {path}"),
            detail: format!(
                "{complaint}; stop brig and put a backup in its place, or move {path}, {path}-wal and {path}-shm \
                 away: brig then starts with an empty store"
            ),
        }
    }
}

/// Whether a row named another row that is not there.
pub(super) fn names_a_missing_row(error: &sqlx::Error) -> bool {
    code(error) == Some(SQLITE_CONSTRAINT_FOREIGNKEY)
}

fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}
