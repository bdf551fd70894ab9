//! The engine broker: the one process of Brig that opens the engine's socket, which is as good as root.
//!
//! ```text
//!  daemon ── protocol ──▶ serve.rs: a request is answered by a task of its own
//!                           open.rs ──▶ pool.rs (ready containers) ──▶ container.rs: plan, create, verify, attach, start
//!                           cell.rs: one task a cell; watch.rs: its deadlines; cgroup.rs: its counters
//!                           relay.rs: the container's wire, as bytes
//!  engine ◀── engine.rs: every call has a deadline; breaker.rs ── health.rs: is it there? ── leftovers.rs
//! ```
//!
//! The broker decides what a container is ([`plan`]), reads back what the engine made of it ([`verify`]) and starts nothing
//! that is not as it was asked for. It reads no byte that a container wrote.

mod breaker;
mod cell;
mod cgroup;
mod config;
mod container;
mod engine;
mod health;
mod image;
mod leftovers;
mod open;
mod plan;
mod pool;
mod relay;
mod serve;
mod shared;
mod verify;
mod watch;

pub use config::{BrokerConfig, WarmPool};

use brig_jail::policy::PolicyError;
use brig_jail::record::RecordSocket;
use std::io;
use std::os::fd::OwnedFd;

/// Why a broker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The async runtime or a descriptor.
    #[error("failed to {act}")]
    Io {
        /// What was being done.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The daemon sent something that is no record of the protocol, or took none.
    #[error("the daemon's socket failed")]
    Daemon(#[from] crate::docker::protocol::ProtocolError),
    /// The policy of system calls.
    #[error("failed to make the profile of system calls")]
    Policy(#[from] PolicyError),
}

/// Serves the daemon at the other end of `socket` until it closes that end; then removes every container. `init` is the
/// program that becomes the first process of every container.
///
/// # Errors
/// The daemon's socket failed. The containers are removed then, too.
pub fn run(config: BrokerConfig, socket: OwnedFd, init: &'static [u8]) -> Result<(), BrokerError> {
    let profile = brig_jail::policy::engine_profile()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| BrokerError::Io {
            act: "start the broker's runtime",
            source,
        })?;
    let served = runtime.block_on(serve::serve(config, RecordSocket::new(socket), init, profile));
    // A thread that reads an image for an engine that hangs is not waited for.
    runtime.shutdown_background();
    served
}
