//! The two kinds of channels of a wire.

use super::{Nonsense, QUEUE_MAX, TURN, UNWANTED_PER_TICK};
use brig_jail::container::flow::{Credit, Window};
use brig_jail::container::wire::{Down, DownChannel, encode_data_down};
use std::collections::VecDeque;

/// A channel that comes in.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pub(super) held: VecDeque<u8>,
    pub(super) window: Window,
    /// There will be no more.
    pub(super) finished: bool,
    /// Nobody reads it any more: what comes is thrown away, at a pace that costs nobody much.
    pub(super) unwanted: bool,
}

impl Incoming {
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(), Nonsense> {
        if self.finished {
            return Err(Nonsense::OutOfOrder("bytes behind the end of a channel"));
        }
        self.window.receive(bytes.len())?;
        self.held.extend(bytes);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<(), Nonsense> {
        if std::mem::replace(&mut self.finished, true) {
            return Err(Nonsense::OutOfOrder("a second end of a channel"));
        }
        Ok(())
    }

    /// `None`: nothing now. `Some(0)`: the end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Option<usize> {
        let (first, _second) = self.held.as_slices();
        if first.is_empty() {
            return self.finished.then_some(0);
        }
        let count = first.len().min(into.len());
        into[..count].copy_from_slice(&first[..count]);
        self.held.drain(..count);
        self.window.consume(count);
        Some(count)
    }

    pub(super) fn throw_away(&mut self) {
        let count = self.held.len().min(UNWANTED_PER_TICK);
        self.held.drain(..count);
        self.window.consume(count);
    }
}

/// A channel that goes out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) queue: VecDeque<u8>,
    pub(super) credit: Credit,
    pub(super) way: Way,
}

/// How far a channel that goes out is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// It has a writer.
    #[default]
    Open,
    /// The writer has closed it.
    Closing,
    /// The other side knows that.
    Closed,
    /// The other side will take no more.
    Refused,
}

impl Outgoing {
    /// `None`: no room now. An error: nobody takes it any more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refused> {
        if self.way != Way::Open {
            return Err(Refused);
        }
        let room = QUEUE_MAX - self.queue.len();
        if room == 0 && !bytes.is_empty() {
            return Ok(None);
        }
        let count = room.min(bytes.len());
        self.queue.extend(&bytes[..count]);
        Ok(Some(count))
    }

    pub(super) fn close(&mut self) {
        if self.way == Way::Open {
            self.way = Way::Closing;
        }
    }

    pub(super) fn refuse(&mut self) {
        self.way = Way::Refused;
        self.queue = VecDeque::new();
    }

    /// Nothing will go out any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.way, Way::Closed | Way::Refused)
    }

    /// The next frame of this channel, if it may send one.
    pub(super) fn send(&mut self, channel: DownChannel, out: &mut Vec<u8>) -> bool {
        if self.is_over() {
            return false;
        }
        let (first, _second) = self.queue.as_slices();
        let count = first.len().min(self.credit.left()).min(TURN);
        if count > 0 && self.credit.spend(count).is_ok() {
            encode_data_down(channel, &first[..count], out);
            self.queue.drain(..count);
            return true;
        }
        if self.way == Way::Closing && self.queue.is_empty() {
            self.way = Way::Closed;
            Down::Eof(channel).encode(out);
            return true;
        }
        false
    }
}

/// Nobody takes these bytes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::docker) struct Refused;
