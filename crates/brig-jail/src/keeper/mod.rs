//! The keeper: the one process with power. It stays single-threaded, reads no network, and reads from the
//! daemon and from cells nothing but fixed-size records.
//!
//! ```text
//!  daemon ──Request──▶ ┌────────────┐ ──fork──▶ P (makes groups, clones, maps ids) ──clone3──▶ PID 1 of a cell
//!         ◀──Reply──── │ event loop │ ◀── control socket, wait status ─────────────────────────┘
//!                      └────────────┘ ◀── refused system calls (seccomp listener)
//! ```
//!
//! One turn of the loop handles what is ready, at most one notification per cell, and never waits for a cell:
//! so no cell can delay another one, nor its own deadline.

mod cell;
mod clock;
mod config;
mod ending;
mod event_loop;
mod facts;
mod files;
mod host;
mod outbox;
pub mod power;
mod progress;
mod refusals;
mod requests;
mod serve;
mod spares;

pub use config::{
    CgroupUse, DEFAULT_ROOT_RANGE, HostImage, IdRange, KeeperConfig, OptionalLayer, SyntheticProc, UidSource,
};
pub use serve::{Programs, run, serve};

pub use crate::image::{HostImageError, check_host_image, identity};

use crate::policy::PolicyError;
use std::io;

/// Why the keeper ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The daemon asked for a drain, and the last cell is gone (or the daemon then ended with status 0).
    Drained,
    /// The daemon closed its socket or died; every cell was killed. Its exit code, where it had one.
    DaemonGone(Option<i32>),
    /// A second SIGTERM or SIGINT: the daemon and every cell were killed at once.
    Stopped,
}

/// Why a keeper could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Another thread exists: forking would be unsafe.
    #[error("the keeper must be single-threaded, but this process has {0} threads")]
    Threads(usize),
    /// The range for root overlaps with somebody's subordinate range.
    #[error(
        "uid range {first}..{end} overlaps with an entry of {file}: choose another with [root_ids] in the configuration"
    )]
    RangeOverlap {
        /// First id.
        first: u32,
        /// First id after the range.
        end: u64,
        /// The file.
        file: &'static str,
    },
    /// The sealed copy of `brig-jail-init` could not be made.
    #[error("failed to prepare brig-jail-init")]
    SealInit(#[source] io::Error),
    /// The seccomp policy did not compile: a bug in this build.
    #[error("failed to compile the seccomp policy")]
    Policy(#[source] PolicyError),
    /// The daemon could not be started.
    #[error("failed to start the daemon")]
    StartDaemon(#[source] io::Error),
    /// The engine broker could not be started.
    #[error("failed to start the engine broker")]
    StartBroker(#[source] io::Error),
    /// The keeper could not give up its power. It must not go on.
    #[error("the keeper failed to {act}")]
    GiveUp {
        /// What was done.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The event loop's own descriptors failed.
    #[error("failed to {act}")]
    Loop {
        /// What was done.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}
