//! The two writers: one that survives `kill -9`, one that also survives loss of power.
//!
//! Both write the same write-ahead log. They are used one at a time, under one lock, so that no writer ever waits
//! inside SQLite. An operation is one SQL text that begins and ends its own transaction; a caller that goes away in
//! the middle of one leaves the transaction open, and whoever comes next ends it.

use super::sql;
use brig_core::spec::Durability;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Sqlite};

/// A statement with its arguments.
pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

#[derive(Debug)]
pub(super) struct Writers {
    normal: Lane,
    full: Lane,
}

#[derive(Debug)]
struct Lane {
    connection: SqliteConnection,
    phase: Phase,
}

/// Whether a transaction may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Busy,
}

impl Writers {
    pub(super) async fn open(normal: SqliteConnectOptions, full: SqliteConnectOptions) -> sqlx::Result<Self> {
        Ok(Self {
            normal: Lane::open(normal).await?,
            full: Lane::open(full).await?,
        })
    }

    pub(super) async fn migrate(
        &mut self,
        migrations: &sqlx::migrate::Migrator,
    ) -> Result<(), sqlx::migrate::MigrateError> {
        migrations.run(&mut self.full.connection).await
    }

    /// Runs one operation and gives all rows of all its statements.
    pub(super) async fn run(
        &mut self,
        durability: Durability,
        statement: Statement,
    ) -> sqlx::Result<Vec<SqliteRow>> {
        // Also the other lane: its open transaction would keep this one waiting.
        self.normal.settle().await?;
        self.full.settle().await?;
        match durability {
            Durability::Process => self.normal.run(statement).await,
            Durability::PowerLoss => self.full.run(statement).await,
        }
    }

    pub(super) async fn close(self) {
        // A connection that cannot be closed in order is closed by its drop; nothing committed is lost.
        self.normal.connection.close().await.unwrap_or_default();
        self.full.connection.close().await.unwrap_or_default();
    }
}

impl Lane {
    async fn open(options: SqliteConnectOptions) -> sqlx::Result<Self> {
        Ok(Self {
            connection: options.connect().await?,
            phase: Phase::Idle,
        })
    }

    async fn run(&mut self, statement: Statement) -> sqlx::Result<Vec<SqliteRow>> {
        self.phase = Phase::Busy;
        let rows = statement.fetch_all(&mut self.connection).await;
        match rows {
            Ok(rows) => {
                self.phase = Phase::Idle;
                Ok(rows)
            }
            Err(error) => {
                // The error of the operation is the one to tell; a roll-back that fails is tried again later.
                self.settle().await.unwrap_or_default();
                Err(error)
            }
        }
    }

    /// Ends what an interrupted operation left behind.
    async fn settle(&mut self) -> sqlx::Result<()> {
        if self.phase == Phase::Busy {
            match sqlx::query(sql::ROLLBACK).execute(&mut self.connection).await {
                // A database error says that no transaction is open: it was ended or never begun.
                Ok(_) | Err(sqlx::Error::Database(_)) => self.phase = Phase::Idle,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
