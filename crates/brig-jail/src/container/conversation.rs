//! Conversations about files: each with a child of PID 1 that lives as long as it, before the program or after it.

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;
use std::os::fd::{AsFd, OwnedFd};

use super::pipes::{DownPipe, UpPipe};
use super::streams::{Output, StreamError};
use super::wire::{DownChannel, Up, UpChannel};
use crate::child::default_signals;
use crate::enter;
use crate::sys::child as sys;
use crate::sys::parent::exit_now;

/// The channel of files, and whoever serves it.
pub(super) struct Conversation {
    pub(super) down: DownPipe,
    pub(super) up: UpPipe,
    helper: Option<Pid>,
    open: bool,
    /// The daemon has been told that no more comes.
    told: bool,
}

impl Conversation {
    pub(super) fn new() -> Conversation {
        Conversation {
            down: DownPipe::new(DownChannel::Files),
            up: UpPipe::new(UpChannel::Files),
            helper: None,
            open: false,
            told: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// A new one, with all credit again. `workspace`: `None` where it is refused, which sounds like a helper that
    /// ended at once.
    pub(super) fn begin(
        &mut self,
        workspace: Option<&OwnedFd>,
        output: &mut Output,
    ) -> Result<(), StreamError> {
        if self.open {
            return Err(StreamError::Nonsense);
        }
        *self = Conversation::new();
        self.open = true;
        let started = workspace
            .ok_or(Errno::EBUSY)
            .and_then(|workspace| self.start(workspace));
        if started.is_err() {
            self.down.abandon();
        }
        self.settle(output);
        Ok(())
    }

    fn start(&mut self, workspace: &OwnedFd) -> nix::Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
        let ours_too = ours.try_clone().map_err(|_full| Errno::EMFILE)?;
        match sys::fork()? {
            sys::Side::Child => exit_now(help(&theirs, workspace).into()),
            sys::Side::Parent(helper) => self.helper = Some(helper),
        }
        self.up.attach(ours)?;
        self.down.attach(ours_too)
    }

    /// A child of PID 1 has ended.
    pub(super) fn note(&mut self, pid: i32) {
        if self.helper.is_some_and(|helper| helper.as_raw() == pid) {
            self.helper = None;
        }
    }

    /// Tells the daemon when nobody is left to answer. Over when both sides have said their last word.
    pub(super) fn settle(&mut self, output: &mut Output) {
        if !self.open {
            return;
        }
        if !self.up.is_open() {
            // Whoever took the requests has gone.
            self.down.abandon();
        }
        self.down.settle(output);
        // Only then: at the daemon's next word the next helper starts, or the program.
        if !self.told && !self.up.is_open() && self.helper.is_none() {
            output.say(&Up::Eof(UpChannel::Files));
            self.told = true;
        }
        self.open = !self.told || !self.down.is_ended();
    }
}

/// The child. Nothing of PID 1 stays open in it but the two that it works with; the owners of the others in this copy of
/// the process are never dropped, because it ends with `_exit`.
fn help(socket: &OwnedFd, workspace: &OwnedFd) -> u8 {
    const SOCKET: i32 = 0;
    const WORKSPACE: i32 = 1;
    let arranged = default_signals()
        .and_then(|()| sys::duplicate_onto(socket.as_fd(), SOCKET))
        .and_then(|()| sys::duplicate_onto(workspace.as_fd(), WORKSPACE))
        .and_then(|()| sys::close_from(3));
    match (
        arranged,
        sys::take_inherited(SOCKET),
        sys::take_inherited(WORKSPACE),
    ) {
        (Ok(()), Some(socket), Some(workspace)) => enter::serve_in_container(socket, workspace),
        (_, _, _) => 2,
    }
}
