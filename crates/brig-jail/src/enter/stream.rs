//! Frames over the daemon's socket, with blocking reads and writes under the alarm.

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use std::os::fd::{AsRawFd, OwnedFd};

use super::ALARM_SECONDS;
use crate::files::{DATA_MAX, FileReply, FileRequest, FrameReader};

/// The daemon hung up, or does not speak the protocol: the helper ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

pub(super) struct Stream {
    socket: OwnedFd,
    reader: FrameReader,
    buffer: Vec<u8>,
}

impl Stream {
    pub(super) fn new(socket: OwnedFd) -> Stream {
        Stream {
            socket,
            reader: FrameReader::new(),
            buffer: vec![0; DATA_MAX],
        }
    }

    /// The next request. `None`: the daemon is done.
    pub(super) fn receive(&mut self) -> Result<Option<FileRequest>, Gone> {
        loop {
            match self.reader.next_frame() {
                Ok(Some(frame)) => return FileRequest::decode(&frame).map(Some).map_err(|_nonsense| Gone),
                Ok(None) => {}
                Err(_nonsense) => return Err(Gone),
            }
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(0) => return Ok(None),
                Ok(length) => self.reader.push(self.buffer.get(..length).unwrap_or(&[])),
                Err(Errno::EINTR) => {}
                Err(_broken) => return Err(Gone),
            }
            progress();
        }
    }

    pub(super) fn send(&mut self, reply: &FileReply) -> Result<(), Gone> {
        let frame = reply.encode();
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            match send(self.socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or(&[]),
                Err(Errno::EINTR) => {}
                Err(_broken) => return Err(Gone),
            }
            progress();
        }
        Ok(())
    }

    /// Done, or why not.
    pub(super) fn answer(&mut self, outcome: nix::Result<()>) -> Result<(), Gone> {
        match outcome {
            Ok(()) => self.send(&FileReply::Done),
            Err(errno) => self.send(&FileReply::Failed { errno: errno as i32 }),
        }
    }
}

/// Something moved: the alarm starts anew.
fn progress() {
    nix::unistd::alarm::set(ALARM_SECONDS);
}
