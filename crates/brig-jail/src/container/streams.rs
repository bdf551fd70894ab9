//! The two ends of the engine's streams.

use nix::errno::Errno;
use nix::unistd::{read, write};
use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::wire::{Decoder, Down, Seal, Up, UpChannel, WireError, encode_data};

/// So much is read in one turn of the loop, from any one descriptor.
pub(super) const PART: usize = 64 * 1024;

/// Data are taken from the program only while less than this waits for the engine.
const WAITING_DATA: usize = 128 * 1024;

/// More than this waits only where somebody asks and asks and never reads.
const WAITING_MAX: usize = 1024 * 1024;

/// Whoever is at the other end is gone, or does not speak the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamError {
    /// End of the stream: the broker is dead, or done with this container.
    Gone,
    /// Frames that no daemon of ours sends.
    Nonsense,
}

impl From<WireError> for StreamError {
    fn from(_: WireError) -> StreamError {
        StreamError::Nonsense
    }
}

/// Orders.
pub(super) struct Input {
    stream: OwnedFd,
    decoder: Decoder<Down>,
    buffer: Vec<u8>,
}

impl Input {
    pub(super) fn new(stream: OwnedFd) -> Input {
        Input {
            stream,
            decoder: Decoder::new(),
            buffer: vec![0; PART],
        }
    }

    /// Reads what there is, once.
    pub(super) fn fill(&mut self) -> Result<(), StreamError> {
        match read(&self.stream, &mut self.buffer) {
            Ok(0) => Err(StreamError::Gone),
            Ok(length) => {
                self.decoder.push(self.buffer.get(..length).unwrap_or(&[]));
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(_broken) => Err(StreamError::Gone),
        }
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Down>, StreamError> {
        Ok(self.decoder.next_frame()?)
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What is to be told. Frames of control are always taken, data only while there is [`Output::has_room`].
pub(super) struct Output {
    stream: OwnedFd,
    waiting: VecDeque<u8>,
    frame: Vec<u8>,
    seal: Seal,
}

impl Output {
    pub(super) fn new(stream: OwnedFd) -> Output {
        Output {
            stream,
            waiting: VecDeque::new(),
            frame: Vec::new(),
            seal: Seal::NONE,
        }
    }

    /// From here on every frame is sealed.
    pub(super) fn set_seal(&mut self, seal: Seal) {
        self.seal = seal;
    }

    pub(super) fn say(&mut self, frame: &Up) {
        self.frame.clear();
        frame.encode(self.seal, &mut self.frame);
        self.waiting.extend(&self.frame);
    }

    pub(super) fn data(&mut self, channel: UpChannel, bytes: &[u8]) {
        self.frame.clear();
        encode_data(channel, bytes, self.seal, &mut self.frame);
        self.waiting.extend(&self.frame);
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_DATA
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what the engine takes now.
    pub(super) fn flush(&mut self) -> Result<(), StreamError> {
        while self.is_waiting() {
            let (first, _) = self.waiting.as_slices();
            match write(&self.stream, first) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.waiting.len() <= WAITING_MAX => return Ok(()),
                Err(_broken) => return Err(StreamError::Gone),
            }
        }
        Ok(())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// PID 1's own standard error: a line for the broker's log, if somebody reads it.
pub(super) struct Trouble {
    stream: OwnedFd,
}

impl Trouble {
    pub(super) fn new(stream: OwnedFd) -> Trouble {
        Trouble { stream }
    }

    pub(super) fn tell(&self, what: &dyn std::fmt::Display) {
        let mut line = Vec::new();
        writeln!(line, "brig-jail-init: {what}").ok();
        // Nobody else is there to be told that nobody listens.
        write(&self.stream, &line).ok();
    }
}
