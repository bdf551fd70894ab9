//! The daemon's end of a container's wire, without input or output: frames come in, channels come out, and the other
//! way round.
//!
//! ```text
//!  Greeting ──Hello──▶ Idle ──start()──▶ Starting ──Started──▶ Running ──Ended──▶ Over
//!                       │  files()…                                              │ files()…
//!                       └──────────────────────── Failed ───────────────────────▶┘ (no files)
//! ```
//!
//! The other side is the first process of a container and may be hostile. Every frame is checked against what was
//! asked for; one that does not fit ends the cell with [`Nonsense`] and harms nothing else. What is held is bounded: a
//! window for each channel that comes in, [`QUEUE_MAX`] for each that goes out.

mod channel;

use brig_jail::container::flow::{Credit, FlowError};
use brig_jail::container::wire::{
    Decoder, Down, DownChannel, Ended, Posture, Start, Up, UpChannel, VERSION, WireError,
};
use brig_jail::stage::SetupFailure;
use std::collections::VecDeque;

pub(super) use channel::Refused;
use channel::{Incoming, Outgoing};

/// Bytes of one channel that wait to go out.
pub(super) const QUEUE_MAX: usize = 64 * 1024;
/// Bytes that one turn of a channel takes, so that channels take turns.
const TURN: usize = 16 * 1024;
/// Frames for one write to the socket.
const BATCH: usize = 64 * 1024;
/// Bytes that nobody wants are taken at this rate: so much at every [`Mux::tick`].
const UNWANTED_PER_TICK: usize = 256 * 1024;
/// Orders that wait to go out. Renewals replace each other, so more than a few are never needed.
const ORDERS_MAX: usize = 64;

/// What the container said makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nonsense {
    /// It does not speak the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It does not keep to the windows.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// It speaks another version.
    #[error("the container speaks version {0} of the wire")]
    Version(u16),
    /// A frame came at a time when there is none such.
    #[error("the container sent {0} out of order")]
    OutOfOrder(&'static str),
}

/// How far the cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was heard yet.
    Greeting,
    /// It waits for orders.
    Idle,
    /// The order to start went out.
    Starting,
    /// The program's process exists.
    Running,
    /// The program is over, or there will never be one.
    Over,
}

/// How the container says that the job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The program ran.
    Ended(Ended),
    /// It did not.
    Failed(SetupFailure),
}

/// A conversation about files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    /// There is none.
    None,
    /// There is one.
    Open,
    /// Ours has ended; the container's end is still to come.
    Leaving,
}

/// Everything about the wire of one container.
#[derive(Debug)]
pub(super) struct Mux {
    decoder: Decoder<Up>,
    phase: Phase,
    posture: Option<Posture>,
    end: Option<End>,
    files: Files,
    orders: VecDeque<Down>,
    incoming: [Incoming; UpChannel::ALL.len()],
    outgoing: [Outgoing; DownChannel::ALL.len()],
    /// Whose turn it is.
    turn: usize,
}

impl Mux {
    pub(super) fn new() -> Mux {
        Mux {
            decoder: Decoder::new(),
            phase: Phase::Greeting,
            posture: None,
            end: None,
            files: Files::None,
            orders: VecDeque::new(),
            incoming: Default::default(),
            outgoing: Default::default(),
            turn: 0,
        }
    }

    /// What the container found around itself, once it has said so.
    pub(super) fn posture(&self) -> Option<Posture> {
        self.posture
    }

    /// How the job ended, once that is known.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Bytes came.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(), Nonsense> {
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next_frame()? {
            self.frame(frame)?;
        }
        Ok(())
    }

    fn frame(&mut self, frame: Up) -> Result<(), Nonsense> {
        let greeted = self.phase != Phase::Greeting;
        match frame {
            Up::Hello { version, posture } if !greeted => {
                if version != VERSION {
                    return Err(Nonsense::Version(version));
                }
                self.posture = Some(posture);
                self.phase = Phase::Idle;
                Ok(())
            }
            Up::Failed(failure) if self.end.is_none() => {
                self.over(End::Failed(failure));
                Ok(())
            }
            Up::Started if self.phase == Phase::Starting => {
                self.phase = Phase::Running;
                Ok(())
            }
            Up::Ended(ended) if self.phase == Phase::Running => {
                let output = [UpChannel::Stdout, UpChannel::Stderr, UpChannel::Runner];
                if output.into_iter().any(|channel| !self.up(channel).finished) {
                    return Err(Nonsense::OutOfOrder(
                        "the end of the job before that of its output",
                    ));
                }
                self.over(End::Ended(ended));
                Ok(())
            }
            Up::Data { channel, bytes } if greeted => {
                self.expect(channel)?;
                self.up(channel).receive(&bytes)
            }
            Up::Eof(channel) if greeted => {
                self.expect(channel)?;
                self.up(channel).finish()?;
                self.settle_files();
                Ok(())
            }
            Up::Credit { channel, bytes } if greeted => self.credit(channel, bytes),
            Up::Hello { .. } => Err(Nonsense::OutOfOrder("a second greeting")),
            Up::Failed(_) => Err(Nonsense::OutOfOrder("a failure behind the end")),
            Up::Started => Err(Nonsense::OutOfOrder("a start")),
            Up::Ended(_) => Err(Nonsense::OutOfOrder("the end of the job")),
            Up::Data { .. } | Up::Eof(_) | Up::Credit { .. } => {
                Err(Nonsense::OutOfOrder("a channel before its greeting"))
            }
        }
    }

    /// Output comes from a program that runs, files from a conversation that was asked for.
    fn expect(&self, channel: UpChannel) -> Result<(), Nonsense> {
        let expected = match channel {
            UpChannel::Files => self.files != Files::None,
            UpChannel::Stdout | UpChannel::Stderr | UpChannel::Runner => self.phase == Phase::Running,
        };
        if expected {
            Ok(())
        } else {
            Err(Nonsense::OutOfOrder("bytes of a channel that is not open"))
        }
    }

    fn credit(&mut self, channel: DownChannel, bytes: u32) -> Result<(), Nonsense> {
        let given = self.down(channel).credit.give(bytes);
        match channel {
            DownChannel::Job | DownChannel::Stdin => Ok(given?),
            // It may be about a conversation that has ended: the next one begins with all of it.
            DownChannel::Files => {
                if given.is_err() {
                    self.down(channel).credit = Credit::default();
                }
                Ok(())
            }
        }
    }

    fn over(&mut self, end: End) {
        self.end = Some(end);
        self.phase = Phase::Over;
        self.down(DownChannel::Job).refuse();
        self.down(DownChannel::Stdin).refuse();
        if matches!(end, End::Failed(_)) {
            self.hang_up();
        }
    }

    /// The stream is over: readers find the end, writers nobody.
    pub(super) fn hang_up(&mut self) {
        for channel in &mut self.outgoing {
            channel.refuse();
        }
        for channel in &mut self.incoming {
            channel.finished = true;
        }
        self.orders.clear();
    }

    /// The program is to start.
    pub(super) fn start(&mut self, start: Start) {
        self.phase = match self.phase {
            Phase::Greeting | Phase::Idle => Phase::Starting,
            other @ (Phase::Starting | Phase::Running | Phase::Over) => other,
        };
        self.decoder.expect(start.seal);
        self.order(Down::Start(start));
    }

    /// The dead-man timer starts anew.
    pub(super) fn renew(&mut self, lease_nanos: u64) {
        // Only the latest counts.
        self.orders.retain(|order| !matches!(order, Down::Renew { .. }));
        self.order(Down::Renew { lease_nanos });
    }

    fn order(&mut self, order: Down) {
        if self.orders.len() < ORDERS_MAX {
            self.orders.push_back(order);
        }
    }

    /// Whether a conversation about files can begin.
    pub(super) fn files_are_free(&self) -> bool {
        self.files == Files::None
    }

    /// Begins one, if there is none.
    pub(super) fn open_files(&mut self) -> bool {
        if !self.files_are_free() {
            return false;
        }
        self.files = Files::Open;
        *self.up(UpChannel::Files) = Incoming::default();
        *self.down(DownChannel::Files) = Outgoing::default();
        self.order(Down::OpenFiles);
        true
    }

    /// Both ends of our side of it are gone.
    pub(super) fn leave_files(&mut self) {
        if self.files == Files::Open {
            self.files = Files::Leaving;
            self.discard(UpChannel::Files);
            self.close(DownChannel::Files);
            self.settle_files();
        }
    }

    /// A conversation that both sides have ended is none.
    fn settle_files(&mut self) {
        let over = self.up(UpChannel::Files).finished && self.down(DownChannel::Files).is_over();
        if self.files == Files::Leaving && over {
            self.files = Files::None;
        }
    }

    /// Bytes of a channel for its reader: `None` when there are none now, `Some(0)` at the end.
    pub(super) fn read(&mut self, channel: UpChannel, into: &mut [u8]) -> Option<usize> {
        self.up(channel).read(into)
    }

    /// The reader of a channel is gone. A program that still writes to its runner's channel is told so, as in the jail;
    /// what it prints is taken all the same.
    pub(super) fn discard(&mut self, channel: UpChannel) {
        self.up(channel).unwanted = true;
        let runs = matches!(self.phase, Phase::Starting | Phase::Running);
        if channel == UpChannel::Runner && runs && !self.up(channel).finished {
            self.order(Down::Shut(channel));
        }
    }

    /// Bytes of a channel from its writer: how many were taken, `None` when there is no room now.
    pub(super) fn write(&mut self, channel: DownChannel, bytes: &[u8]) -> Result<Option<usize>, Refused> {
        self.down(channel).write(bytes)
    }

    /// The writer of a channel is gone.
    pub(super) fn close(&mut self, channel: DownChannel) {
        self.down(channel).close();
    }

    /// Whether bytes are held that nobody wants: then [`Mux::tick`] is to be called now and then.
    pub(super) fn needs_tick(&self) -> bool {
        self.incoming.iter().any(|up| up.unwanted && !up.held.is_empty())
    }

    /// Throws away some of what nobody wants.
    pub(super) fn tick(&mut self) {
        for up in self.incoming.iter_mut().filter(|up| up.unwanted) {
            up.throw_away();
        }
    }

    /// Appends what may go out now, about [`BATCH`] bytes at most: orders first, then credit, then channels in turn.
    pub(super) fn outgoing(&mut self, out: &mut Vec<u8>) {
        self.give_orders(out);
        for (channel, up) in UpChannel::ALL.into_iter().zip(&mut self.incoming) {
            let bytes = up.window.settle();
            // Credit for a channel that has ended says nothing to anybody.
            if bytes > 0 && !up.finished {
                Down::Credit { channel, bytes }.encode(out);
            }
        }
        let mut idle = 0;
        while idle < DownChannel::ALL.len() && out.len() < BATCH {
            let turn = self.turn % DownChannel::ALL.len();
            self.turn = turn + 1;
            let sent = self.outgoing[turn].send(DownChannel::ALL[turn], out);
            idle = if sent { 0 } else { idle + 1 };
        }
        // The last word about files may have been what they waited for.
        self.give_orders(out);
        self.settle_files();
    }

    /// A program starts only when a conversation about files has ended, and what was ordered later comes later.
    fn give_orders(&mut self, out: &mut Vec<u8>) {
        let busy = self.files != Files::None && !self.down(DownChannel::Files).is_over();
        while let Some(order) = self
            .orders
            .pop_front_if(|order| !(busy && matches!(order, Down::Start(_))))
        {
            order.encode(out);
        }
    }

    fn up(&mut self, channel: UpChannel) -> &mut Incoming {
        &mut self.incoming[match channel {
            UpChannel::Files => 0,
            UpChannel::Stdout => 1,
            UpChannel::Stderr => 2,
            UpChannel::Runner => 3,
        }]
    }

    fn down(&mut self, channel: DownChannel) -> &mut Outgoing {
        &mut self.outgoing[match channel {
            DownChannel::Job => 0,
            DownChannel::Stdin => 1,
            DownChannel::Files => 2,
        }]
    }
}

#[cfg(test)]
mod tests;
