//! Channels, at the container's end: a pipe (for files a socket) of the program, and its window.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{read, write};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::flow::{Credit, Window};
use super::streams::{Output, PART, StreamError};
use super::wire::{DownChannel, Up, UpChannel};

/// From the daemon to the program. Holds at most a window of bytes.
pub(super) struct DownPipe {
    channel: DownChannel,
    target: Option<OwnedFd>,
    waiting: VecDeque<u8>,
    window: Window,
    /// The daemon has said that there is no more.
    ended: bool,
    /// Nobody will ever take more.
    abandoned: bool,
}

impl DownPipe {
    pub(super) fn new(channel: DownChannel) -> DownPipe {
        DownPipe {
            channel,
            target: None,
            waiting: VecDeque::new(),
            window: Window::default(),
            ended: false,
            abandoned: false,
        }
    }

    /// Somebody takes the bytes.
    pub(super) fn attach(&mut self, target: OwnedFd) -> nix::Result<()> {
        do_not_wait(&target)?;
        self.target = Some(target);
        self.pump();
        Ok(())
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes came.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        if self.ended || self.window.receive(bytes.len()).is_err() {
            return Err(StreamError::Nonsense);
        }
        if self.abandoned {
            self.window.consume(bytes.len());
        } else {
            self.waiting.extend(bytes);
            self.pump();
        }
        Ok(())
    }

    /// The daemon's last word.
    pub(super) fn end(&mut self) -> Result<(), StreamError> {
        if self.ended {
            return Err(StreamError::Nonsense);
        }
        self.ended = true;
        self.pump();
        Ok(())
    }

    /// Nobody takes anything any more.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
        self.target = None;
        self.window.consume(self.waiting.len());
        self.waiting = VecDeque::new();
    }

    /// What to watch: only where a write is due, because a reader that has gone would be reported without end.
    pub(super) fn wants_to_write(&self) -> Option<BorrowedFd<'_>> {
        self.target
            .as_ref()
            .filter(|_| !self.waiting.is_empty())
            .map(AsFd::as_fd)
    }

    /// Writes what fits.
    pub(super) fn pump(&mut self) {
        while let (Some(target), false) = (&self.target, self.waiting.is_empty()) {
            let (first, _) = self.waiting.as_slices();
            match write(target, first) {
                Ok(written) => {
                    self.waiting.drain(..written);
                    self.window.consume(written);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_no_reader) => return self.abandon(),
            }
        }
        if self.ended
            && self.waiting.is_empty()
            && let Some(target) = self.target.take()
        {
            // A socket has another end that may still be open; a pipe does not know the call.
            shutdown(target.as_raw_fd(), Shutdown::Write).ok();
        }
    }

    /// Gives credit back, if enough is due.
    pub(super) fn settle(&mut self, output: &mut Output) {
        let bytes = if output.has_room() {
            self.window.settle()
        } else {
            0
        };
        if bytes > 0 {
            output.say(&Up::Credit {
                channel: self.channel,
                bytes,
            });
        }
    }
}

/// What an empty pipe means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writers {
    /// More may come.
    MayLive,
    /// There is nobody left to write, whoever holds the pipe's other end.
    AreDead,
}

/// What a look into a pipe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Some, or none for now.
    Bytes,
    /// There will be no more; the pipe is closed.
    End,
}

/// From the program to the daemon. Nothing is held here: what is not read stays in the pipe.
pub(super) struct UpPipe {
    channel: UpChannel,
    source: Option<OwnedFd>,
    credit: Credit,
}

impl UpPipe {
    pub(super) fn new(channel: UpChannel) -> UpPipe {
        UpPipe {
            channel,
            source: None,
            credit: Credit::default(),
        }
    }

    pub(super) fn attach(&mut self, source: OwnedFd) -> nix::Result<()> {
        do_not_wait(&source)?;
        self.source = Some(source);
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        self.source.is_some()
    }

    /// Closes, so that whoever writes hears that nobody reads. Whether it was open.
    pub(super) fn shut(&mut self) -> bool {
        self.source.take().is_some()
    }

    /// The daemon took bytes.
    pub(super) fn give(&mut self, bytes: u32) -> Result<(), StreamError> {
        self.credit.give(bytes).map_err(|_gift| StreamError::Nonsense)
    }

    /// What to watch: only where a read is possible, because an end would be reported without end.
    pub(super) fn wants_to_read(&self, output: &Output) -> Option<BorrowedFd<'_>> {
        self.source
            .as_ref()
            .filter(|_| self.credit.left() > 0 && output.has_room())
            .map(AsFd::as_fd)
    }

    /// Reads one part. At the end it closes and says so to its caller, who tells the daemon.
    pub(super) fn pump(&mut self, output: &mut Output, buffer: &mut [u8], writers: Writers) -> Found {
        let most = self.credit.left().min(PART).min(buffer.len());
        let Some(source) = &self.source else {
            return Found::Bytes;
        };
        if most == 0 || !output.has_room() {
            return Found::Bytes;
        }
        match read(source, &mut buffer[..most]) {
            Ok(length @ 1..) => {
                let part = buffer.get(..length).unwrap_or(&[]);
                if self.credit.spend(part.len()).is_ok() {
                    output.data(self.channel, part);
                }
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if writers == Writers::MayLive => {}
            Ok(_) | Err(_) => {
                self.source = None;
                return Found::End;
            }
        }
        Found::Bytes
    }
}

/// Reads and writes of PID 1 never wait. The program's end is another open file, with flags of its own.
pub(super) fn do_not_wait(descriptor: &OwnedFd) -> nix::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}
