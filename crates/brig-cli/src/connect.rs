//! Which engine a command talks to: a daemon at an address, or one started in this process.

use crate::job_options::UsageError;
use brig_api::client::Address;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Options of commands that need a running daemon.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DaemonArgs {
    /// The daemon: unix:PATH or tcp:HOST:PORT [default: $BRIG_ADDRESS, then the default socket]
    #[arg(long, value_name = "ADDR")]
    pub(crate) address: Option<Address>,
}

/// Options of commands that can also start an engine of their own.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EngineArgs {
    /// The daemon: unix:PATH or tcp:HOST:PORT [default: $BRIG_ADDRESS, the default socket, else embedded]
    #[arg(long, value_name = "ADDR", conflicts_with = "embedded")]
    pub(crate) address: Option<Address>,
    /// Start the engine in this process, whatever daemon there is
    #[arg(long)]
    pub(crate) embedded: bool,
}

/// The engine for this command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A daemon.
    Daemon(Address),
    /// In this process.
    Embedded,
}

impl EngineArgs {
    /// Decides.
    pub(crate) fn place(&self) -> anyhow::Result<Place> {
        if self.embedded {
            return Ok(Place::Embedded);
        }
        Ok(named(self.address.as_ref())?
            .or_else(answering_socket)
            .map_or(Place::Embedded, Place::Daemon))
    }

    /// Like [`EngineArgs::place`], but only a daemon that was asked for by name.
    pub(crate) fn named_place(&self) -> anyhow::Result<Place> {
        if self.embedded {
            return Ok(Place::Embedded);
        }
        Ok(named(self.address.as_ref())?.map_or(Place::Embedded, Place::Daemon))
    }
}

impl DaemonArgs {
    /// Decides.
    pub(crate) fn daemon(&self) -> anyhow::Result<Address> {
        named(self.address.as_ref())?.or_else(answering_socket).ok_or_else(|| {
            let place = default_socket().map_or_else(
                || "there is no default socket without XDG_RUNTIME_DIR".to_owned(),
                |socket| format!("nothing answers at {}", socket.display()),
            );
            anyhow::anyhow!("no daemon: {place}. Start one with `brig serve`, or name one with --address or BRIG_ADDRESS")
        })
    }
}

fn named(flag: Option<&Address>) -> anyhow::Result<Option<Address>> {
    if let Some(address) = flag {
        return Ok(Some(address.clone()));
    }
    match std::env::var("BRIG_ADDRESS") {
        Ok(text) if !text.is_empty() => match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(wrong) => Err(UsageError::new(format!("BRIG_ADDRESS={text}: {wrong}")).into()),
        },
        Ok(_) | Err(_) => Ok(None),
    }
}

/// A socket file outlives a daemon that was killed: only one that answers counts.
fn answering_socket() -> Option<Address> {
    let socket = default_socket()?;
    UnixStream::connect(&socket).ok().map(|_| Address::Unix(socket))
}

/// Where `brig serve` listens when it is told nothing else.
pub(crate) fn default_socket() -> Option<PathBuf> {
    if is_root() {
        return Some(PathBuf::from("/run/brig/brig.sock"));
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime
        .filter(|path| path.is_absolute())
        .map(|path| path.join("brig/brig.sock"))
}

/// Where `brig serve` keeps its data when it is told nothing else.
pub(crate) fn default_data() -> Option<PathBuf> {
    if is_root() {
        return Some(PathBuf::from("/var/lib/brig"));
    }
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    state.or_else(home).map(|path| path.join("brig"))
}

/// Whether this process has root's powers.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_on_the_command_line_wins() {
        let args = EngineArgs {
            address: Some(Address::Tcp("h:1".into())),
            embedded: false,
        };
        assert_eq!(args.place().unwrap(), Place::Daemon(Address::Tcp("h:1".into())));
        let args = EngineArgs {
            address: None,
            embedded: true,
        };
        assert_eq!(args.place().unwrap(), Place::Embedded);
    }
}
