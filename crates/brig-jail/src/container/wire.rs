//! The frames: eight bytes of head (kind, channel, two zero bytes, u32 little-endian length), from the container eight
//! more (the [`Seal`]), then the payload.
//!
//! ```text
//!  daemon                                     PID 1 of the container
//!    │ ◀──────────────── Hello ────────────────┤ first, and once
//!    ├──── OpenFiles, Data{Files}…, Eof{Files} ▶│ files before the run, served by a child of PID 1
//!    │ ◀─────── Data{Files}…, Eof{Files} ──────┤
//!    ├──── Start ─────────────────────────────▶│ once; the deadlines run from here
//!    │ ◀──────────────── Started │ Failed ─────┤ Failed is the last frame: PID 1 exits
//!    ├──── Data{Job}, Data{Stdin}, Eof, Renew ▶│ Job and Stdin may also come before Start
//!    │ ◀─ Data{Stdout}, {Stderr}, {Runner} … ──┤
//!    │ ◀─ Eof of these three, then Ended ──────┤ nothing of the job lives any more
//!    ├──── OpenFiles … ───────────────────────▶│ files after the run, any number of times
//!    ├──── end of the stream ─────────────────▶│ PID 1 kills everything and exits
//! ```
//!
//! `Credit` flows both ways at any time, see [`super::flow`]. A second `OpenFiles` may come when both `Eof{Files}` of
//! the first are through; the credit of this channel is then full again, on both sides, and none is given back for the
//! conversation before. Who ends one early still takes what comes. While the program runs,
//! `OpenFiles` is answered with `Eof{Files}` at once. The Job channel carries an
//! [`ExecSpec`](crate::exec_spec::ExecSpec) as the job pipe of a jail does and then what a runner reads, Runner what it
//! answers, Files the frames of [`crate::files`].
//!
//! A kernel that is not Linux may let the program open PID 1's own standard output, `/proc/1/fd/1`: gVisor does. So a
//! job has a seal, a number that nobody can guess: the daemon sends it with `Start`, PID 1 keeps it in memory that the
//! program cannot read, and `Started` and every frame after it carry it. What the program writes into the stream breaks
//! it, and can never pass for a word of PID 1.
//!
//! Both decoders take any bytes: a length is checked before anything is kept for it, every frame has one encoding, and
//! at most one frame is held. After an error the stream is over.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use thiserror::Error;

use crate::stage::SetupFailure;

mod codec;

pub use codec::{Decoder, Frame, encode_data, encode_data_down};

/// The version of this protocol, in [`Up::Hello`].
pub const VERSION: u16 = 1;

/// Longest payload.
pub const PAYLOAD_MAX: usize = 65_536;

/// Kind, channel, two zero bytes, length: the head of a frame to the container.
pub const DOWN_HEAD_BYTES: usize = 8;

/// The same and the seal: the head of a frame from the container.
pub const UP_HEAD_BYTES: usize = 16;

/// What shows that a frame is from PID 1 and not from the program beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seal(u64);

impl Seal {
    /// Of frames from before the program.
    pub const NONE: Seal = Seal(0);

    /// One that nobody can guess, from the keys which the standard library takes from the kernel's randomness.
    pub fn fresh() -> Seal {
        Seal(RandomState::new().hash_one(b"the seal of a job").max(1))
    }

    /// The one with this number.
    pub const fn from_number(number: u64) -> Seal {
        Seal(number)
    }
}

impl fmt::Debug for Seal {
    /// Not the number: whoever reads a log is not PID 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Seal::NONE {
            "Seal(none)"
        } else {
            "Seal(…)"
        })
    }
}

/// Channels whose bytes go to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DownChannel {
    /// The program's specification, then what a runner reads.
    Job = 1,
    /// The program's standard input.
    Stdin = 2,
    /// Requests for files.
    Files = 3,
}

/// Channels whose bytes come from the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UpChannel {
    /// Answers to requests for files.
    Files = 3,
    /// The program's standard output.
    Stdout = 4,
    /// The program's standard error.
    Stderr = 5,
    /// What a runner answers.
    Runner = 6,
}

impl DownChannel {
    /// All of them.
    pub const ALL: [DownChannel; 3] = [DownChannel::Job, DownChannel::Stdin, DownChannel::Files];

    fn from_wire(number: u8) -> Option<DownChannel> {
        DownChannel::ALL
            .into_iter()
            .find(|channel| *channel as u8 == number)
    }
}

impl UpChannel {
    /// All of them.
    pub const ALL: [UpChannel; 4] = [
        UpChannel::Files,
        UpChannel::Stdout,
        UpChannel::Stderr,
        UpChannel::Runner,
    ];

    fn from_wire(number: u8) -> Option<UpChannel> {
        UpChannel::ALL
            .into_iter()
            .find(|channel| *channel as u8 == number)
    }
}

/// What a job may use, as PID 1 enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Wall-clock limit from the arrival of this frame, nanoseconds; 0: none.
    pub wall_nanos: u64,
    /// CPU time of each process, nanoseconds, rounded up to seconds; 0: none. The limit of the whole cell is the broker's.
    pub cpu_nanos: u64,
    /// Dead-man timer: so long from the arrival of this frame, nanoseconds; 0: none. A span and not a moment, because
    /// the clocks of a container may be others than the daemon's (gVisor has its own).
    pub lease_nanos: u64,
    /// Largest file that the program may make, bytes.
    pub file_size_bytes: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// The seal of the job; [`Decoder::expect`] it from now on.
    pub seal: Seal,
}

/// From the daemon to the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// Start the program of the Job channel.
    Start(Start),
    /// The dead-man timer starts anew.
    Renew {
        /// So long from now, nanoseconds; 0: none.
        lease_nanos: u64,
    },
    /// Bytes of a channel.
    Data {
        /// Which.
        channel: DownChannel,
        /// 1 to [`PAYLOAD_MAX`] bytes in a frame; more are sent as several frames.
        bytes: Vec<u8>,
    },
    /// There will be no more of a channel.
    Eof(DownChannel),
    /// So many bytes of a channel were taken.
    Credit {
        /// Which.
        channel: UpChannel,
        /// How many.
        bytes: u32,
    },
    /// Nobody reads this channel of the program any more: its end in the container closes, and whoever writes to it
    /// hears of that. Not for files.
    Shut(UpChannel),
    /// Serve files.
    OpenFiles,
}

/// How the main process ended, as the kernel told PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Main {
    /// By itself, with this code.
    Exited(u8),
    /// By this signal.
    Signalled(u8),
    /// It was not seen to end: it could not be killed within PID 1's patience.
    Unknown,
}

/// Why PID 1 killed the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Killed {
    /// It did not.
    No = 0,
    /// The wall-clock limit.
    Wall = 1,
    /// The dead-man timer.
    Lease = 2,
}

/// The end of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How the main process ended.
    pub main: Main,
    /// Why PID 1 killed it, if it did.
    pub killed: Killed,
    /// From `Start` to the end of the main process, nanoseconds of the boot-time clock.
    pub wall_nanos: u64,
    /// CPU time of all processes that PID 1 reaped, nanoseconds.
    pub cpu_nanos: u64,
    /// Processes that outlived the main one and were killed.
    pub leftovers_killed: u32,
}

/// What PID 1 found around itself before anything untrusted ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posture {
    /// Mode of seccomp as `/proc/self/status` shows it: 2 is a filter; 255: it does not say. gVisor says 0 where the
    /// filter is not inside of its sandbox.
    pub seccomp_mode: u8,
    /// Whether a process of the same user cannot look into PID 1.
    pub init_closed: bool,
    /// Whether the program is the first that the kernel kills when memory runs out.
    pub program_first_out: bool,
}

/// What [`Posture::seccomp_mode`] is where a filter is in force.
pub const SECCOMP_FILTER: u8 = 2;

/// What [`Posture::seccomp_mode`] is where nobody says.
pub const SECCOMP_UNKNOWN: u8 = 255;

/// From the container to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// PID 1 waits for orders.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// What it found.
        posture: Posture,
    },
    /// The program's process exists and waits for its specification.
    Started,
    /// Bytes of a channel.
    Data {
        /// Which.
        channel: UpChannel,
        /// 1 to [`PAYLOAD_MAX`] bytes in a frame; more are sent as several frames.
        bytes: Vec<u8>,
    },
    /// There will be no more of a channel.
    Eof(UpChannel),
    /// So many bytes of a channel were taken.
    Credit {
        /// Which.
        channel: DownChannel,
        /// How many.
        bytes: u32,
    },
    /// The job is over.
    Ended(Ended),
    /// The container is of no use; PID 1 exits.
    Failed(SetupFailure),
}

/// The other side does not speak this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// A payload longer than [`PAYLOAD_MAX`].
    #[error("a frame of {length} bytes, where at most {PAYLOAD_MAX} are possible")]
    Length {
        /// What the frame claims.
        length: u32,
    },
    /// A frame without the seal of its job: the program wrote into the stream of PID 1.
    #[error("a frame of kind {kind} that PID 1 has not sealed")]
    Unsealed {
        /// What the frame claims to be.
        kind: u8,
    },
    /// A kind, a channel or fields that no frame of this direction has.
    #[error("a frame of kind {kind} that cannot be read")]
    Malformed {
        /// What the frame claims to be.
        kind: u8,
    },
}

#[cfg(test)]
mod tests;
