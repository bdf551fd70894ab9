//! The durable job store: every port of [`brig_core::store`], on SQLite.
//!
//! ```text
//!   submit ─┐                       ┌─ writer NORMAL ─┐   survives kill -9
//!   claim  ─┼─▶ one lock, in order ─┤                 ├─▶ brig.db (WAL)
//!   end    ─┘                       └─ writer FULL ───┘   survives loss of power
//!   get, list, events ─────────────── a few readers ──▶
//! ```
//!
//! Every change of a job is one transaction that also writes its events and numbers them. It is guarded by the
//! state and the attempt, so that a worker that lost its lease changes nothing. Each operation is one file in
//! `sql/sqlite`, sent to the database in one message; writers wait for each other here and never in SQLite.
//!
//! Secrets of a job are not stored; the engine keeps them in memory.
#![forbid(unsafe_code)]

mod event_row;
mod page;
mod row;
mod sqlite;

pub use sqlite::SqliteStore;
