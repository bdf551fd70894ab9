//! What the keeper and a cell's PID 1 say to each other: fixed-size records over one SEQPACKET socket
//! (descriptor 3 of `brig-jail-init`). One record per message.
//!
//! ```text
//!  keeper                                   init (PID 1, still in the `job` control group)
//!    │                                        │ closes everything but fd 0-3, forks the stub at once
//!    │ ◀──────────────── Forked ──────────────┤ the stub stays in `job`, init can be moved to `init` now
//!    │ (moves PID 1 into the `init` group)    │
//!    ├──── plan (PlanMessage, may be early) ─▶│ mounts, pivot, loopback, limits; the stub locks itself down
//!    │ ◀── Ready + descriptors │ Failed ──────┤ Failed: init exits by itself
//!    ├──── Start ────────────────────────────▶│ deadlines run from here
//!    ├──── Renew … ──────────────────────────▶│
//!    ├──── Kill ─────────────────────────────▶│
//!    │ ◀──────────────── Ended ───────────────┤ every process of the cell but init is gone; init exits
//! ```
//!
//! `Kill` is understood at any time after the plan. `Ended` can come without `Start`: the stub died or was killed.
//! A stub whose job pipe ends before an `ExecSpec` came exits by itself with [`STUB_GAVE_UP`].
//! End of file on this socket, seen by init, means that the keeper is dead: init kills everything and exits.

use crate::plan::JailPlan;
use crate::stage::{SETUP_FAILURE_BYTES, SetupFailure};

/// The descriptor on which `brig-jail-init` finds the control socket (and `--enter` the daemon's socket).
pub const CONTROL_FD: i32 = 3;

/// The descriptor on which `brig-jail-init --enter` finds the O_PATH descriptor of the workspace.
pub const ENTER_WORKSPACE_FD: i32 = 4;

/// Exit code of a stub that never got a program to start: the job pipe ended or carried nonsense.
pub const STUB_GAVE_UP: u8 = 254;

/// Bytes of every encoded [`ToInit`].
pub const TO_INIT_BYTES: usize = 17;

/// Bytes of every encoded [`FromInit`].
pub const FROM_INIT_BYTES: usize = 32;

/// Descriptors that come with [`FromInit::Ready`], without the listener.
pub const READY_DESCRIPTORS: usize = 7;

/// A plan whose JSON is longer than this goes through a memfd: a SEQPACKET message has to fit the socket's buffer.
pub const PLAN_INLINE_MAX: usize = 128 * 1024;

/// No plan is longer than this.
pub const PLAN_MAX: usize = 4 * 1024 * 1024;

/// First byte of a message that carries the plan itself.
pub const PLAN_INLINE: u8 = 0x50;

/// First byte of a message whose one descriptor is a memfd that holds the plan.
pub const PLAN_IN_MEMFD: u8 = 0x51;

/// From the keeper to PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToInit {
    /// The program starts: kill everything after `wall_nanos`, counted from the arrival of this record, and at
    /// `lease_until_nanos` without a `Renew` (both on CLOCK_BOOTTIME).
    Start {
        /// Wall-clock limit, nanoseconds, with the keeper's margin already added. 0: none.
        wall_nanos: u64,
        /// Dead-man timer: a moment, nanoseconds of [`crate::boot_time`]. 0: none.
        lease_until_nanos: u64,
    },
    /// Re-arm the dead-man timer.
    Renew {
        /// As in `Start`.
        lease_until_nanos: u64,
    },
    /// Kill everything now.
    Kill,
}

impl ToInit {
    /// The fixed encoding.
    pub fn encode(self) -> [u8; TO_INIT_BYTES] {
        let (tag, first, second) = match self {
            ToInit::Start {
                wall_nanos,
                lease_until_nanos,
            } => (1, wall_nanos, lease_until_nanos),
            ToInit::Renew { lease_until_nanos } => (2, lease_until_nanos, 0),
            ToInit::Kill => (3, 0, 0),
        };
        let mut writer = Writer::<TO_INIT_BYTES>::new(tag);
        writer.put(&first.to_le_bytes());
        writer.put(&second.to_le_bytes());
        writer.bytes
    }

    /// Reads the fixed encoding; anything else is `None`.
    pub fn decode(bytes: &[u8]) -> Option<ToInit> {
        let mut reader = Reader::new(bytes, TO_INIT_BYTES)?;
        let tag = reader.byte()?;
        let (first, second) = (reader.u64()?, reader.u64()?);
        let record = match tag {
            1 => ToInit::Start {
                wall_nanos: first,
                lease_until_nanos: second,
            },
            2 => ToInit::Renew {
                lease_until_nanos: first,
            },
            3 => ToInit::Kill,
            _ => return None,
        };
        // Exactly one encoding: nothing hides in bytes that a record does not use.
        (record.encode().as_slice() == bytes).then_some(record)
    }
}

/// Why init itself killed the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum KilledBy {
    /// It did not: the main process ended by itself (or was killed from outside).
    Nobody = 0,
    /// The wall-clock limit.
    WallTime = 1,
    /// The dead-man timer.
    Lease = 2,
    /// [`ToInit::Kill`].
    Keeper = 3,
}

impl KilledBy {
    fn from_wire(number: u8) -> Option<KilledBy> {
        match number {
            0 => Some(KilledBy::Nobody),
            1 => Some(KilledBy::WallTime),
            2 => Some(KilledBy::Lease),
            3 => Some(KilledBy::Keeper),
            _ => None,
        }
    }
}

/// From PID 1 to the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromInit {
    /// The stub is forked: PID 1 can be moved to its own control group. Always the first record.
    Forked,
    /// The jail is complete and waits for the program. Descriptors, in order: job (write), stdin (write),
    /// stdout (read), stderr (read), runner (read), workspace (O_PATH), user namespace, and, where the filters have one,
    /// the notification listener.
    Ready {
        /// ABI of Landlock in force; 0: missing and optional.
        landlock_abi: u8,
        /// Whether the Landlock domain is fully enforced.
        landlock_full: bool,
        /// Whether a notification listener could be had (it is then the eighth descriptor).
        listener: bool,
        /// The main process, as a number of the cell's own pid namespace.
        main_pid: u32,
    },
    /// A step failed; the cell is useless and init exits.
    Failed(SetupFailure),
    /// The main process ended and everything else was killed.
    Ended {
        /// Raw wait status of the main process.
        wait_status: i32,
        /// CPU time of all processes that init reaped, nanoseconds.
        cpu_nanos: u64,
        /// Largest resident set of any process that init reaped, bytes.
        max_rss_bytes: u64,
        /// Processes that outlived the main one.
        leftovers: u32,
        /// Why init itself killed the cell.
        killed_by: KilledBy,
    },
}

impl FromInit {
    /// The fixed encoding.
    pub fn encode(self) -> [u8; FROM_INIT_BYTES] {
        match self {
            FromInit::Forked => Writer::new(1).bytes,
            FromInit::Ready {
                landlock_abi,
                landlock_full,
                listener,
                main_pid,
            } => {
                let mut writer = Writer::new(2);
                writer.put(&[landlock_abi, u8::from(landlock_full), u8::from(listener)]);
                writer.put(&main_pid.to_le_bytes());
                writer.bytes
            }
            FromInit::Failed(failure) => {
                let mut writer = Writer::new(3);
                writer.put(&failure.encode());
                writer.bytes
            }
            FromInit::Ended {
                wait_status,
                cpu_nanos,
                max_rss_bytes,
                leftovers,
                killed_by,
            } => {
                let mut writer = Writer::new(4);
                writer.put(&wait_status.to_le_bytes());
                writer.put(&cpu_nanos.to_le_bytes());
                writer.put(&max_rss_bytes.to_le_bytes());
                writer.put(&leftovers.to_le_bytes());
                writer.put(&[killed_by as u8]);
                writer.bytes
            }
        }
    }

    /// Reads the fixed encoding; anything else is `None`.
    pub fn decode(bytes: &[u8]) -> Option<FromInit> {
        let mut reader = Reader::new(bytes, FROM_INIT_BYTES)?;
        let record = match reader.byte()? {
            1 => FromInit::Forked,
            2 => FromInit::Ready {
                landlock_abi: reader.byte()?,
                landlock_full: reader.flag()?,
                listener: reader.flag()?,
                main_pid: reader.u32()?,
            },
            3 => {
                let failure: [u8; SETUP_FAILURE_BYTES] = reader.array()?;
                SetupFailure::decode(failure).map(FromInit::Failed)?
            }
            4 => FromInit::Ended {
                wait_status: i32::from_le_bytes(reader.array()?),
                cpu_nanos: reader.u64()?,
                max_rss_bytes: reader.u64()?,
                leftovers: reader.u32()?,
                killed_by: KilledBy::from_wire(reader.byte()?)?,
            },
            _ => return None,
        };
        (record.encode().as_slice() == bytes).then_some(record)
    }
}

/// How the plan travels: always the message `head`, and, when `memfd` is there, one descriptor with these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMessage {
    /// The SEQPACKET message.
    pub head: Vec<u8>,
    /// What a memfd sent with the message has to hold.
    pub memfd: Option<Vec<u8>>,
}

impl PlanMessage {
    /// Packs the plan.
    pub fn pack(plan: &JailPlan) -> Result<PlanMessage, serde_json::Error> {
        let json = serde_json::to_vec(plan)?;
        if json.len() > PLAN_INLINE_MAX {
            return Ok(PlanMessage {
                head: vec![PLAN_IN_MEMFD],
                memfd: Some(json),
            });
        }
        let mut head = Vec::with_capacity(json.len() + 1);
        head.push(PLAN_INLINE);
        head.extend_from_slice(&json);
        Ok(PlanMessage { head, memfd: None })
    }
}

struct Writer<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Writer<N> {
    fn new(tag: u8) -> Self {
        let mut bytes = [0; N];
        bytes[0] = tag;
        Writer { bytes, used: 1 }
    }

    /// The sizes are fixed at compile time; a record that does not fit would fail every round-trip test.
    fn put(&mut self, part: &[u8]) {
        self.bytes[self.used..self.used + part.len()].copy_from_slice(part);
        self.used += part.len();
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], exactly: usize) -> Option<Self> {
        (bytes.len() == exactly).then_some(Reader { rest: bytes })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;
    use proptest::prelude::*;

    #[test]
    fn every_record_to_init_survives_the_encoding() {
        for record in [
            ToInit::Start {
                wall_nanos: u64::MAX,
                lease_until_nanos: 7,
            },
            ToInit::Renew {
                lease_until_nanos: 1 << 40,
            },
            ToInit::Kill,
        ] {
            assert_eq!(ToInit::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn every_record_from_init_survives_the_encoding() {
        for record in [
            FromInit::Forked,
            FromInit::Ready {
                landlock_abi: 7,
                landlock_full: true,
                listener: true,
                main_pid: 2,
            },
            FromInit::Failed(SetupFailure {
                stage: Stage::Mount,
                item: 300,
                errno: 95,
            }),
            FromInit::Ended {
                wait_status: -1,
                cpu_nanos: u64::MAX,
                max_rss_bytes: 1 << 40,
                leftovers: u32::MAX,
                killed_by: KilledBy::Lease,
            },
        ] {
            assert_eq!(FromInit::decode(&record.encode()), Some(record));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(ToInit::decode(&bytes).is_none() || bytes.len() == TO_INIT_BYTES);
            prop_assert!(FromInit::decode(&bytes).is_none() || bytes.len() == FROM_INIT_BYTES);
        }
    }
}
