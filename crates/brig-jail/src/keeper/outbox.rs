//! Replies on their way to the daemon. A daemon that does not read makes nobody wait: replies queue up, and one
//! that never reads is given up.

use crate::protocol::Reply;
use crate::sys::parent as sys;
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// More unread replies than a living daemon can cause: it asks for a bounded number of cells.
const QUEUE_MAX: usize = 4_096;

/// The queue in front of the daemon's socket.
#[derive(Debug)]
pub(super) struct Outbox {
    socket: OwnedFd,
    queue: VecDeque<(Reply, Vec<OwnedFd>)>,
    interest: EpollFlags,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(socket: OwnedFd) -> Outbox {
        Outbox {
            socket,
            queue: VecDeque::new(),
            interest: EpollFlags::EPOLLIN,
            closed: false,
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues a reply with its descriptors, which belong to the daemon from here on.
    pub(super) fn push(&mut self, reply: Reply, descriptors: Vec<OwnedFd>) {
        if !self.closed {
            self.queue.push_back((reply, descriptors));
        }
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) -> nix::Result<()> {
        while let Some((reply, descriptors)) = self.queue.front() {
            let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
            match sys::send_record(self.socket.as_fd(), &reply.encode(), &raw) {
                Ok(()) => drop(self.queue.pop_front()),
                // ETOOMANYREFS: too many descriptors in flight; the daemon has to take some first.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS) if self.queue.len() < QUEUE_MAX => {
                    return Ok(());
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Remembers what the loop watches for; whether that changed.
    pub(super) fn note_interest(&mut self, wanted: EpollFlags) -> bool {
        std::mem::replace(&mut self.interest, wanted) != wanted
    }

    /// Nobody reads any more; a daemon that lives sees it.
    pub(super) fn close(&mut self) {
        shutdown(self.socket.as_raw_fd(), Shutdown::Both).ok();
        self.queue.clear();
        self.closed = true;
    }
}
