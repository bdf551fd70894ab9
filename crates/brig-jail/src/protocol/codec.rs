//! The fixed encoding of the keeper's protocol: one tag byte, the fields in order, little-endian, padded with
//! zeros to one length per direction.
//!
//! Decoding is total: any bytes give a record or `None`, and every record has exactly one encoding, so that
//! nothing can hide in padding or in a number that two readers would understand differently.

use super::{
    CellFacts, CellLimits, CellReceipt, CgroupKind, ImageDigest, KillReason, LayerState, Level, MainExit,
    Network, REFUSED_CALLS_MAX, RefusedCall, Reply, Request, UidKind,
};
use crate::stage::{SETUP_FAILURE_BYTES, SetupFailure};

/// Bytes of every encoded [`Request`].
pub const REQUEST_BYTES: usize = 128;
/// Bytes of every encoded [`Reply`].
pub const REPLY_BYTES: usize = 256;

/// Writes fields one after the other into a record of fixed size.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let rest = std::mem::take(&mut self.rest);
        // Too small a record would lose fields; the round-trip properties of this module rule that out.
        let Some((head, tail)) = rest.split_at_mut_checked(bytes.len()) else {
            return;
        };
        head.copy_from_slice(bytes);
        self.rest = tail;
    }
}

/// Reads fields one after the other.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>()?;
        self.rest = tail;
        Some(*head)
    }

    /// Nothing but padding may follow.
    fn finish(self) -> Option<()> {
        self.rest.iter().all(|byte| *byte == 0).then_some(())
    }
}

/// A value with a fixed place in a record.
trait Field: Sized {
    fn put(&self, out: &mut Writer<'_>);
    fn get(input: &mut Reader<'_>) -> Option<Self>;
}

macro_rules! number_fields {
    ($($number:ty),+) => {$(
        impl Field for $number {
            fn put(&self, out: &mut Writer<'_>) {
                out.bytes(&self.to_le_bytes());
            }
            fn get(input: &mut Reader<'_>) -> Option<Self> {
                Some(<$number>::from_le_bytes(input.bytes()?))
            }
        }
    )+};
}

macro_rules! struct_field {
    ($name:ident { $($field:ident),+ }) => {
        impl Field for $name {
            fn put(&self, out: &mut Writer<'_>) {
                let $name { $($field),+ } = self;
                $($field.put(out);)+
            }
            fn get(input: &mut Reader<'_>) -> Option<Self> {
                $(let $field = Field::get(input)?;)+
                Some($name { $($field),+ })
            }
        }
    };
}

macro_rules! word_field {
    ($name:ident { $($variant:ident),+ }) => {
        impl Field for $name {
            fn put(&self, out: &mut Writer<'_>) {
                (*self as u8).put(out);
            }
            fn get(input: &mut Reader<'_>) -> Option<Self> {
                let number = u8::get(input)?;
                [$($name::$variant),+].into_iter().find(|word| *word as u8 == number)
            }
        }
    };
}

macro_rules! record {
    ($name:ident, $size:ident { $($tag:literal => $variant:ident { $($field:ident),* }),+ }) => {
        impl $name {
            /// The fixed encoding.
            #[must_use]
            pub fn encode(&self) -> [u8; $size] {
                let mut record = [0; $size];
                let mut out = Writer { rest: &mut record };
                match self {
                    $($name::$variant { $($field),* } => {
                        $tag.put(&mut out);
                        $($field.put(&mut out);)*
                    })+
                }
                record
            }

            /// Reads the fixed encoding; anything else is `None`.
            #[must_use]
            pub fn decode(record: &[u8]) -> Option<$name> {
                if record.len() != $size {
                    return None;
                }
                let mut input = Reader { rest: record };
                let decoded = match u8::get(&mut input)? {
                    $($tag => {
                        $(let $field = Field::get(&mut input)?;)*
                        $name::$variant { $($field),* }
                    })+
                    _ => return None,
                };
                input.finish()?;
                Some(decoded)
            }
        }
    };
}

number_fields!(u8, u16, u32, u64, i32);

impl Field for bool {
    fn put(&self, out: &mut Writer<'_>) {
        u8::from(*self).put(out);
    }
    fn get(input: &mut Reader<'_>) -> Option<Self> {
        match u8::get(input)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Writer<'_>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn get(input: &mut Reader<'_>) -> Option<Self> {
        if bool::get(input)? {
            Some(Some(T::get(input)?))
        } else {
            Some(None)
        }
    }
}

impl<const N: usize> Field for [u8; N] {
    fn put(&self, out: &mut Writer<'_>) {
        out.bytes(self);
    }
    fn get(input: &mut Reader<'_>) -> Option<Self> {
        input.bytes()
    }
}

impl Field for [RefusedCall; REFUSED_CALLS_MAX] {
    fn put(&self, out: &mut Writer<'_>) {
        for call in self {
            call.put(out);
        }
    }
    fn get(input: &mut Reader<'_>) -> Option<Self> {
        let mut calls = [RefusedCall { number: 0, count: 0 }; REFUSED_CALLS_MAX];
        for call in &mut calls {
            *call = RefusedCall::get(input)?;
        }
        Some(calls)
    }
}

impl Field for SetupFailure {
    fn put(&self, out: &mut Writer<'_>) {
        out.bytes(&self.encode());
    }
    fn get(input: &mut Reader<'_>) -> Option<Self> {
        SetupFailure::decode(input.bytes::<SETUP_FAILURE_BYTES>()?)
    }
}

impl Field for MainExit {
    fn put(&self, out: &mut Writer<'_>) {
        match self {
            MainExit::Exited(code) => {
                1u8.put(out);
                code.put(out);
            }
            MainExit::Signalled(signal) => {
                2u8.put(out);
                signal.put(out);
            }
            MainExit::Unknown => 3u8.put(out),
            MainExit::Setup(failure) => {
                4u8.put(out);
                failure.put(out);
            }
        }
    }
    fn get(input: &mut Reader<'_>) -> Option<Self> {
        match u8::get(input)? {
            1 => Some(MainExit::Exited(Field::get(input)?)),
            2 => Some(MainExit::Signalled(Field::get(input)?)),
            3 => Some(MainExit::Unknown),
            4 => Some(MainExit::Setup(Field::get(input)?)),
            _ => None,
        }
    }
}

impl Field for ImageDigest {
    fn put(&self, out: &mut Writer<'_>) {
        self.0.put(out);
    }
    fn get(input: &mut Reader<'_>) -> Option<Self> {
        Some(ImageDigest(input.bytes()?))
    }
}

word_field!(Level { Strict, Workstation });
word_field!(Network { None });
word_field!(KillReason {
    Cancelled,
    OutputLimit,
    WallTime,
    CpuTime,
    Lease,
    Abandoned
});
word_field!(LayerState {
    Active,
    Missing,
    Partial
});
word_field!(CgroupKind { None, V1, V2, Hybrid });
word_field!(UidKind {
    Own,
    RootRange,
    Subordinate
});

struct_field!(RefusedCall { number, count });
struct_field!(CellLimits {
    memory_bytes,
    processes,
    cpu_millis,
    workspace_bytes,
    workspace_files,
    tmp_bytes,
    tmp_files,
    shm_bytes,
    file_size_bytes,
    open_files,
    cpu_time_nanos
});
struct_field!(CellFacts {
    main,
    killed,
    wall_nanos,
    cpu_nanos,
    cpu_throttled_nanos,
    memory_peak_bytes,
    processes_peak,
    oom_kills,
    forks_refused,
    leftovers_killed,
    refused,
    refused_len,
    refused_truncated
});
struct_field!(CellReceipt {
    level,
    namespaces,
    uid,
    uid_kind,
    cgroup,
    controllers,
    landlock_abi,
    landlock,
    allowed_calls,
    filter_digest,
    refusals_reported,
    own_proc,
    init_class_raised,
    prepared
});

record!(Request, REQUEST_BYTES {
    1u8 => Open { request, image, level, network, limits },
    2u8 => Start { cell, wall_nanos, cpu_nanos, lease_until_nanos },
    3u8 => Renew { cell, lease_until_nanos },
    4u8 => Kill { cell, reason },
    5u8 => OpenFiles { request, cell },
    6u8 => Release { cell },
    7u8 => Probe { request },
    8u8 => Drain {}
});

record!(Reply, REPLY_BYTES {
    1u8 => Opened { request, cell, receipt },
    2u8 => FilesOpened { request, cell },
    3u8 => Failed { request, failure },
    4u8 => Ended { cell, facts },
    5u8 => Released { cell },
    6u8 => Probed { request, receipt, strict, workstation }
});

#[cfg(test)]
mod tests;
