//! Whole records with descriptors over a SEQPACKET socket, for protocols beside the keeper's: what a record means is the
//! business of whoever sends it.
//!
//! Everything is non-blocking: wrap the socket in an async runtime's descriptor type, or poll it.

use crate::sys::parent as sys;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Why a record could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The socket takes no more records now, or has none: wait until it is ready.
    #[error("the socket is not ready")]
    NotReady,
    /// Nobody is at the other end any more.
    #[error("the other end is closed")]
    Closed,
    /// The other side sent a longer record, or more descriptors, than this side takes.
    #[error("a record is too long")]
    TooLong,
    /// The system call failed.
    #[error("failed to use the socket")]
    Socket(#[source] io::Error),
}

impl From<Errno> for RecordError {
    fn from(errno: Errno) -> RecordError {
        if errno == Errno::EAGAIN || errno == Errno::ENOBUFS {
            RecordError::NotReady
        } else if errno == Errno::EPIPE || errno == Errno::ECONNRESET || errno == Errno::ENOTCONN {
            RecordError::Closed
        } else if errno == Errno::EMSGSIZE {
            RecordError::TooLong
        } else {
            RecordError::Socket(errno.into())
        }
    }
}

/// One end of a socket of records.
#[derive(Debug)]
pub struct RecordSocket {
    socket: OwnedFd,
}

impl RecordSocket {
    /// Two connected ends.
    ///
    /// # Errors
    /// The kernel gives none.
    pub fn pair() -> io::Result<(RecordSocket, RecordSocket)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((RecordSocket::new(one), RecordSocket::new(other)))
    }

    /// Wraps an end that somebody else made.
    #[must_use]
    pub fn new(socket: OwnedFd) -> RecordSocket {
        RecordSocket { socket }
    }

    /// Sends one record with descriptors, without waiting.
    ///
    /// # Errors
    /// The socket is full or closed, or takes no such record.
    pub fn send(&self, record: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), RecordError> {
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        Ok(sys::send_record(self.socket.as_fd(), record, &numbers)?)
    }

    /// The next record and its descriptors, without waiting: at most `most` bytes and `descriptors_max` descriptors.
    ///
    /// # Errors
    /// There is none yet, the other end is closed, or what came is larger.
    pub fn receive(
        &self,
        most: usize,
        descriptors_max: usize,
    ) -> Result<(Vec<u8>, Vec<OwnedFd>), RecordError> {
        let mut record = vec![0; most];
        let (length, descriptors) = sys::receive_record(self.socket.as_fd(), &mut record, descriptors_max)?;
        if length == 0 {
            return Err(RecordError::Closed);
        }
        // The kernel rounds the room for descriptors up: one more than asked for may have come.
        if descriptors.len() > descriptors_max {
            return Err(RecordError::TooLong);
        }
        record.truncate(length);
        Ok((record, descriptors))
    }

    /// The descriptor itself, to be handed to another process.
    #[must_use]
    pub fn into_inner(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for RecordSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for RecordSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_record_arrives_whole_and_with_its_descriptors() {
        let (one, other) = RecordSocket::pair().unwrap();
        assert!(matches!(other.receive(16, 1), Err(RecordError::NotReady)));
        let (mut reader, writer) = std::io::pipe().unwrap();
        one.send(b"first", &[writer.as_fd()]).unwrap();
        one.send(b"second", &[]).unwrap();
        drop(writer);
        let (record, descriptors) = other.receive(16, 1).unwrap();
        assert_eq!((record.as_slice(), descriptors.len()), (b"first".as_slice(), 1));
        let mut sent = std::fs::File::from(descriptors.into_iter().next().unwrap());
        sent.write_all(b"through").unwrap();
        drop(sent);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(other.receive(16, 1).unwrap().0, b"second");
        drop(one);
        assert!(matches!(other.receive(16, 1), Err(RecordError::Closed)));
    }

    #[test]
    fn what_is_larger_than_agreed_is_refused_and_its_descriptors_are_closed() {
        let (one, other) = RecordSocket::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        one.send(b"longer than that", &[]).unwrap();
        one.send(b"short", &[writer.as_fd(), writer.as_fd()]).unwrap();
        drop(writer);
        assert!(matches!(other.receive(4, 1), Err(RecordError::TooLong)));
        assert!(matches!(other.receive(16, 1), Err(RecordError::TooLong)));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "", "a descriptor that was not taken is still open");
    }
}
