//! The daemon's end of the keeper's socket.
//!
//! Everything is non-blocking: wrap the link in an async runtime's descriptor type, or poll it.

use crate::protocol::{REPLY_BYTES, Reply, Request};
use crate::sys::parent as sys;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Descriptors that one reply carries at most.
pub const REPLY_DESCRIPTORS_MAX: usize = 5;

/// The first record of all, which the daemon finds when it starts; its descriptor is the engine broker's socket.
pub(crate) const HAND_OVER: &[u8] = b"brig: the daemon's sockets";

/// Why a record could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket takes no more records now: wait until it is writable.
    #[error("the keeper's socket is full")]
    Full,
    /// The keeper is dead.
    #[error("the keeper is gone")]
    Closed,
    /// The other side sent something that is no record of this protocol.
    #[error("the keeper sent a malformed record")]
    Malformed,
    /// The system call failed.
    #[error("failed to use the keeper's socket")]
    Socket(#[source] io::Error),
}

impl From<Errno> for LinkError {
    fn from(errno: Errno) -> LinkError {
        if errno == Errno::EAGAIN || errno == Errno::ENOBUFS {
            LinkError::Full
        } else if errno == Errno::EPIPE || errno == Errno::ECONNRESET || errno == Errno::ENOTCONN {
            LinkError::Closed
        } else {
            LinkError::Socket(errno.into())
        }
    }
}

/// The two ends of a fresh keeper socket: `(keeper, daemon)`.
pub fn keeper_socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// The daemon's link to its keeper.
#[derive(Debug)]
pub struct KeeperLink {
    socket: OwnedFd,
}

impl KeeperLink {
    /// Wraps the daemon's end of [`keeper_socketpair`].
    #[must_use]
    pub fn new(socket: OwnedFd) -> KeeperLink {
        KeeperLink { socket }
    }

    /// In the process that [`crate::keeper::serve`] started: takes the link over from standard input, and the socket of the
    /// engine broker, if there is one.
    pub fn inherited() -> io::Result<(KeeperLink, Option<OwnedFd>)> {
        let link = KeeperLink::new(crate::embedded::take_inherited_socket()?);
        let mut record = [0; HAND_OVER.len() + 1];
        // It was sent before this process was started.
        let (length, descriptors) = sys::receive_record(link.as_fd(), &mut record, 1)?;
        if record.get(..length) != Some(HAND_OVER) {
            return Err(io::Error::other("the keeper's first record is another one"));
        }
        Ok((link, descriptors.into_iter().next()))
    }

    /// Sends one request.
    pub fn send(&self, request: &Request) -> Result<(), LinkError> {
        sys::send_record(self.socket.as_fd(), &request.encode(), &[])?;
        Ok(())
    }

    /// The next reply with its descriptors, or `None` when none has come yet.
    pub fn recv(&self) -> Result<Option<(Reply, Vec<OwnedFd>)>, LinkError> {
        let mut record = [0; REPLY_BYTES + 1];
        let (length, descriptors) =
            match sys::receive_record(self.socket.as_fd(), &mut record, REPLY_DESCRIPTORS_MAX) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
        if length == 0 {
            return Err(LinkError::Closed);
        }
        let reply = record
            .get(..length)
            .and_then(Reply::decode)
            .ok_or(LinkError::Malformed)?;
        Ok(Some((reply, descriptors)))
    }

    /// The next reply, waiting at most this long. For callers without a runtime (`doctor`, tests).
    pub fn recv_within(&self, patience: Duration) -> Result<Option<(Reply, Vec<OwnedFd>)>, LinkError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(received) = self.recv()? {
                return Ok(Some(received));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // Rounded up, so that the last millisecond is slept and not spun.
            let millis = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
            let mut wait = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wait, PollTimeout::from(millis)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(LinkError::Socket(errno.into())),
            }
        }
    }
}

impl AsFd for KeeperLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for KeeperLink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
