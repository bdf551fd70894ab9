//! Fields of a frame, and frames of a stream.

use super::path::CellPath;
use thiserror::Error;

/// Most bytes of one part of a file.
pub const DATA_MAX: usize = 128 * 1024;

/// Most bytes of one frame, kind included and length excluded.
pub const FRAME_MAX: usize = DATA_MAX + 1024;

/// The other side does not speak this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame that is empty or longer than [`FRAME_MAX`].
    #[error("a frame of {length} bytes, where 1 to {FRAME_MAX} are possible")]
    Length {
        /// What the frame claims.
        length: u32,
    },
    /// A frame of an unknown kind, or with fields that are not what its kind has.
    #[error("a frame that cannot be read")]
    Malformed,
}

/// Fields that are not what the kind of the frame has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Cuts a stream into frames. Never holds more than one frame and what was pushed last.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// An empty one.
    pub fn new() -> FrameReader {
        FrameReader::default()
    }

    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame (kind and payload), if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let rest = self.buffer.get(self.start..).unwrap_or(&[]);
        let Some((head, body)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size == 0 || size > FRAME_MAX {
            return Err(FrameError::Length { length });
        }
        let Some(frame) = body.get(..size) else {
            return Ok(None);
        };
        let frame = frame.to_vec();
        self.start += 4 + size;
        Ok(Some(frame))
    }
}

pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(kind: u8) -> Writer {
        Writer {
            bytes: vec![0, 0, 0, 0, kind],
        }
    }

    pub(super) fn u8(mut self, value: u8) -> Writer {
        self.bytes.push(value);
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Writer {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Writer {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// With a length of 16 bits; what is longer is cut: no path is.
    pub(super) fn bytes(mut self, value: &[u8]) -> Writer {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&value[..usize::from(length)]);
        self
    }

    /// Everything up to the end of the frame.
    pub(super) fn rest(mut self, value: &[u8]) -> Writer {
        self.bytes.extend_from_slice(value);
        self
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len() - 4).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes
    }
}

pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(frame: &'a [u8]) -> Fields<'a> {
        Fields { rest: frame }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn path(&mut self) -> Result<CellPath, Malformed> {
        CellPath::new(self.bytes()?).map_err(Malformed::from)
    }

    pub(super) fn list(&mut self, most: usize) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut list = Vec::new();
        while !self.rest.is_empty() {
            if list.len() == most {
                return Err(Malformed);
            }
            list.push(self.bytes()?.to_vec());
        }
        Ok(list)
    }

    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest).to_vec()
    }

    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}
