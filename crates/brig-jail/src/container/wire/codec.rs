//! Frames as bytes, and bytes as frames.

use std::marker::PhantomData;

use super::{
    DOWN_HEAD_BYTES, Down, DownChannel, Ended, Killed, Main, PAYLOAD_MAX, Posture, Seal, Start,
    UP_HEAD_BYTES, Up, UpChannel, WireError,
};
use crate::stage::{SETUP_FAILURE_BYTES, SetupFailure};

/// One direction of the protocol.
pub trait Frame: Sized {
    /// Bytes before the payload.
    #[doc(hidden)]
    const HEAD_BYTES: usize;

    /// From this kind on frames carry the seal; `None`: none ever does.
    #[doc(hidden)]
    const SEALED_FROM: Option<u8>;

    /// Reads a frame whose payload is complete; `None`: it has no such frame.
    #[doc(hidden)]
    fn read(kind: u8, channel: u8, payload: &[u8]) -> Option<Self>;

    /// The lengths that a payload of this kind can have; `None`: there is no such kind.
    #[doc(hidden)]
    fn lengths(kind: u8) -> Option<(usize, usize)>;
}

const START: u8 = 0x01;
const RENEW: u8 = 0x02;
const OPEN_FILES: u8 = 0x06;
const SHUT: u8 = 0x07;
const HELLO: u8 = 0x81;
const STARTED: u8 = 0x82;
const ENDED: u8 = 0x86;
const FAILED: u8 = 0x87;
/// Added to these three when they come from the container.
const UPWARDS: u8 = 0x80;
const DATA: u8 = 0x03;
const EOF: u8 = 0x04;
const CREDIT: u8 = 0x05;

const START_BYTES: usize = 48;
const HELLO_BYTES: usize = 5;
const ENDED_BYTES: usize = 23;

impl Down {
    /// Appends the frame, or the frames where the data are longer than one can hold.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Down::Start(start) => {
                let Start {
                    wall_nanos,
                    cpu_nanos,
                    lease_nanos,
                    file_size_bytes,
                    open_files,
                    seal: Seal(seal),
                } = *start;
                let fields = [
                    wall_nanos,
                    cpu_nanos,
                    lease_nanos,
                    file_size_bytes,
                    open_files,
                    seal,
                ];
                frame((out, None), (START, 0), &fields.map(u64::to_le_bytes).concat());
            }
            Down::Renew { lease_nanos } => frame((out, None), (RENEW, 0), &lease_nanos.to_le_bytes()),
            Down::Data { channel, bytes } => data((out, None), (DATA, *channel as u8), bytes),
            Down::Eof(channel) => frame((out, None), (EOF, *channel as u8), &[]),
            Down::Credit { channel, bytes } => {
                frame((out, None), (CREDIT, *channel as u8), &bytes.to_le_bytes());
            }
            Down::Shut(channel) => frame((out, None), (SHUT, *channel as u8), &[]),
            Down::OpenFiles => frame((out, None), (OPEN_FILES, 0), &[]),
        }
    }
}

impl Up {
    /// Appends the frame with the seal of the job ([`Seal::NONE`] before [`Up::Started`]), or the frames where the data are longer than one can hold.
    pub fn encode(&self, seal: Seal, out: &mut Vec<u8>) {
        let sealed = Some(seal);
        match self {
            Up::Hello { version, posture } => {
                let Posture {
                    seccomp_mode,
                    init_closed,
                    program_first_out,
                } = *posture;
                let facts = [seccomp_mode, u8::from(init_closed), u8::from(program_first_out)];
                let payload = [version.to_le_bytes().as_slice(), &facts].concat();
                frame((out, sealed), (HELLO, 0), &payload);
            }
            Up::Started => frame((out, sealed), (STARTED, 0), &[]),
            Up::Data { channel, bytes } => data((out, sealed), (DATA | UPWARDS, *channel as u8), bytes),
            Up::Eof(channel) => frame((out, sealed), (EOF | UPWARDS, *channel as u8), &[]),
            Up::Credit { channel, bytes } => {
                frame(
                    (out, sealed),
                    (CREDIT | UPWARDS, *channel as u8),
                    &bytes.to_le_bytes(),
                );
            }
            Up::Ended(ended) => frame((out, sealed), (ENDED, 0), &ended.encode()),
            Up::Failed(failure) => frame((out, sealed), (FAILED, 0), &failure.encode()),
        }
    }
}

/// Frames of data without a copy of the bytes first.
pub fn encode_data(channel: UpChannel, bytes: &[u8], seal: Seal, out: &mut Vec<u8>) {
    data((out, Some(seal)), (DATA | UPWARDS, channel as u8), bytes);
}

/// The same towards the container.
pub fn encode_data_down(channel: DownChannel, bytes: &[u8], out: &mut Vec<u8>) {
    data((out, None), (DATA, channel as u8), bytes);
}

fn data((out, seal): (&mut Vec<u8>, Option<Seal>), head: (u8, u8), bytes: &[u8]) {
    for part in bytes.chunks(PAYLOAD_MAX) {
        frame((out, seal), head, part);
    }
}

fn frame((out, seal): (&mut Vec<u8>, Option<Seal>), (kind, channel): (u8, u8), payload: &[u8]) {
    debug_assert!(payload.len() <= PAYLOAD_MAX);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&[kind, channel, 0, 0]);
    out.extend_from_slice(&length.to_le_bytes());
    if let Some(Seal(number)) = seal {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(payload);
}

impl Ended {
    fn encode(self) -> [u8; ENDED_BYTES] {
        let (how, number) = match self.main {
            Main::Exited(code) => (0, code),
            Main::Signalled(signal) => (1, signal),
            Main::Unknown => (2, 0),
        };
        let mut bytes = [0; ENDED_BYTES];
        bytes[..3].copy_from_slice(&[how, number, self.killed as u8]);
        bytes[3..11].copy_from_slice(&self.wall_nanos.to_le_bytes());
        bytes[11..19].copy_from_slice(&self.cpu_nanos.to_le_bytes());
        bytes[19..].copy_from_slice(&self.leftovers_killed.to_le_bytes());
        bytes
    }

    fn decode(payload: &[u8]) -> Option<Ended> {
        let mut fields = Fields(payload);
        let [how, number, killed] = fields.array()?;
        let ended = Ended {
            main: match (how, number) {
                (0, code) => Main::Exited(code),
                (1, signal @ 1..=64) => Main::Signalled(signal),
                (2, 0) => Main::Unknown,
                (_, _) => return None,
            },
            killed: match killed {
                0 => Killed::No,
                1 => Killed::Wall,
                2 => Killed::Lease,
                _ => return None,
            },
            wall_nanos: fields.u64()?,
            cpu_nanos: fields.u64()?,
            leftovers_killed: fields.u32()?,
        };
        fields.end(ended)
    }
}

impl Frame for Down {
    const HEAD_BYTES: usize = DOWN_HEAD_BYTES;
    const SEALED_FROM: Option<u8> = None;

    fn read(kind: u8, channel: u8, payload: &[u8]) -> Option<Down> {
        let mut fields = Fields(payload);
        match (kind, channel) {
            (START, 0) => {
                let start = Start {
                    wall_nanos: fields.u64()?,
                    cpu_nanos: fields.u64()?,
                    lease_nanos: fields.u64()?,
                    file_size_bytes: fields.u64()?,
                    open_files: fields.u64()?,
                    seal: Seal(fields.u64()?),
                };
                fields.end(Down::Start(start))
            }
            (RENEW, 0) => {
                let lease_nanos = fields.u64()?;
                fields.end(Down::Renew { lease_nanos })
            }
            (OPEN_FILES, 0) => fields.end(Down::OpenFiles),
            (DATA, channel) => Some(Down::Data {
                channel: DownChannel::from_wire(channel)?,
                bytes: payload.to_vec(),
            }),
            (EOF, channel) => fields.end(Down::Eof(DownChannel::from_wire(channel)?)),
            (SHUT, channel) => fields.end(Down::Shut(UpChannel::from_wire(channel)?)),
            (CREDIT, channel) => {
                let channel = UpChannel::from_wire(channel)?;
                let bytes = fields.u32()?;
                fields.end(Down::Credit { channel, bytes })
            }
            (_, _) => None,
        }
    }

    fn lengths(kind: u8) -> Option<(usize, usize)> {
        match kind {
            START => Some((START_BYTES, START_BYTES)),
            RENEW => Some((8, 8)),
            DATA => Some((1, PAYLOAD_MAX)),
            EOF | OPEN_FILES | SHUT => Some((0, 0)),
            CREDIT => Some((4, 4)),
            _ => None,
        }
    }
}

impl Frame for Up {
    const HEAD_BYTES: usize = UP_HEAD_BYTES;
    const SEALED_FROM: Option<u8> = Some(STARTED);

    fn read(kind: u8, channel: u8, payload: &[u8]) -> Option<Up> {
        let mut fields = Fields(payload);
        if kind & UPWARDS != 0 && [DATA, EOF, CREDIT].contains(&(kind & !UPWARDS)) {
            return Up::read_channel(kind & !UPWARDS, channel, payload);
        }
        match (kind, channel) {
            (HELLO, 0) => {
                let version = u16::from_le_bytes(fields.array()?);
                let posture = Posture {
                    seccomp_mode: fields.byte()?,
                    init_closed: fields.flag()?,
                    program_first_out: fields.flag()?,
                };
                fields.end(Up::Hello { version, posture })
            }
            (STARTED, 0) => fields.end(Up::Started),
            (ENDED, 0) => Ended::decode(payload).map(Up::Ended),
            (FAILED, 0) => {
                let failure: [u8; SETUP_FAILURE_BYTES] = fields.array()?;
                fields.end(Up::Failed(SetupFailure::decode(failure)?))
            }
            (_, _) => None,
        }
    }

    fn lengths(kind: u8) -> Option<(usize, usize)> {
        match kind {
            HELLO => Some((HELLO_BYTES, HELLO_BYTES)),
            ENDED => Some((ENDED_BYTES, ENDED_BYTES)),
            FAILED => Some((SETUP_FAILURE_BYTES, SETUP_FAILURE_BYTES)),
            STARTED => Some((0, 0)),
            _ => match kind.checked_sub(UPWARDS)? {
                DATA => Some((1, PAYLOAD_MAX)),
                EOF => Some((0, 0)),
                CREDIT => Some((4, 4)),
                _ => None,
            },
        }
    }
}

impl Up {
    fn read_channel(kind: u8, channel: u8, payload: &[u8]) -> Option<Up> {
        let mut fields = Fields(payload);
        match kind {
            DATA => Some(Up::Data {
                channel: UpChannel::from_wire(channel)?,
                bytes: payload.to_vec(),
            }),
            EOF => fields.end(Up::Eof(UpChannel::from_wire(channel)?)),
            CREDIT => {
                let channel = DownChannel::from_wire(channel)?;
                let bytes = fields.u32()?;
                fields.end(Up::Credit { channel, bytes })
            }
            _ => None,
        }
    }
}

/// What is left of a payload.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
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

    /// `value`, unless something is left over.
    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Cuts a stream into frames of one direction. Holds at most one frame and what was pushed last.
#[derive(Debug)]
pub struct Decoder<F> {
    buffer: Vec<u8>,
    start: usize,
    broken: Option<WireError>,
    expected: Seal,
    sealed: bool,
    frames: PhantomData<fn() -> F>,
}

impl<F> Default for Decoder<F> {
    fn default() -> Self {
        Decoder {
            buffer: Vec::new(),
            start: 0,
            broken: None,
            expected: Seal::NONE,
            sealed: false,
            frames: PhantomData,
        }
    }
}

impl<F: Frame> Decoder<F> {
    /// An empty one.
    pub fn new() -> Decoder<F> {
        Decoder::default()
    }

    /// The seal that goes out with [`Down::Start`]: [`Up::Started`] and all after it have to carry it.
    pub fn expect(&mut self, seal: Seal) {
        self.expected = seal;
    }

    /// Takes bytes as they came. Take every frame out before the next push, or they pile up.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.broken.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole frame, if there is one. After an error: the same error.
    pub fn next_frame(&mut self) -> Result<Option<F>, WireError> {
        match self.broken {
            Some(error) => Err(error),
            None => self.cut().inspect_err(|error| {
                self.broken = Some(*error);
                self.buffer = Vec::new();
                self.start = 0;
            }),
        }
    }

    /// Bytes that wait for the rest of their frame.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn cut(&mut self) -> Result<Option<F>, WireError> {
        let rest = self.buffer.get(self.start..).unwrap_or(&[]);
        let Some((head, body)) = rest.split_at_checked(F::HEAD_BYTES) else {
            return Ok(None);
        };
        let Some(&[kind, channel, zero, zeroes, ref length @ ..]) = head.first_chunk::<DOWN_HEAD_BYTES>()
        else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > PAYLOAD_MAX {
            return Err(WireError::Length { length });
        }
        // Before the payload is waited for: a frame that cannot be one is not kept.
        let malformed = WireError::Malformed { kind };
        let (least, most) = F::lengths(kind).ok_or(malformed)?;
        if (zero, zeroes) != (0, 0) || !(least..=most).contains(&size) {
            return Err(malformed);
        }
        let sealed = self.sealed || F::SEALED_FROM == Some(kind);
        let wanted = if sealed { self.expected } else { Seal::NONE };
        if F::SEALED_FROM.is_some() && head.get(DOWN_HEAD_BYTES..) != Some(&wanted.0.to_le_bytes()) {
            return Err(WireError::Unsealed { kind });
        }
        let Some(payload) = body.get(..size) else {
            return Ok(None);
        };
        let frame = F::read(kind, channel, payload).ok_or(malformed)?;
        self.sealed = sealed;
        self.start += F::HEAD_BYTES + size;
        Ok(Some(frame))
    }
}
