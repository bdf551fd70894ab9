//! Requests and replies as frames.

use super::wire::{Fields, Malformed, Writer};
use super::{
    CellPath, CollectLimits, Entry, EntryKind, FileMode, FileReply, FileRequest, FrameError, PATTERNS_MAX,
    SkipReason,
};

impl FileRequest {
    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            FileRequest::Put { path, size, mode } => Writer::new(1)
                .bytes(path.as_bytes())
                .u64(*size)
                .u8(*mode as u8)
                .finish(),
            FileRequest::Data(bytes) => Writer::new(2).rest(bytes).finish(),
            FileRequest::Mkdir { path } => Writer::new(3).bytes(path.as_bytes()).finish(),
            FileRequest::Collect { patterns, limits } => {
                let CollectLimits {
                    files,
                    file_bytes,
                    total_bytes,
                    depth,
                    entries,
                    millis,
                } = *limits;
                let writer = Writer::new(4).u32(files).u64(file_bytes).u64(total_bytes);
                let writer = writer.u32(u32::from(depth)).u32(entries).u32(millis);
                patterns
                    .iter()
                    .fold(writer, |writer, pattern| writer.bytes(pattern))
                    .finish()
            }
            FileRequest::Get { path, max_bytes } => {
                Writer::new(5).bytes(path.as_bytes()).u64(*max_bytes).finish()
            }
            FileRequest::List { path, max_entries } => {
                let path = path.as_ref().map_or(b"".as_slice(), CellPath::as_bytes);
                Writer::new(6).bytes(path).u32(*max_entries).finish()
            }
            FileRequest::Remove { path } => Writer::new(7).bytes(path.as_bytes()).finish(),
            FileRequest::Stat { path } => Writer::new(8).bytes(path.as_bytes()).finish(),
        }
    }

    /// Reads a frame (kind and payload, without the length).
    pub fn decode(frame: &[u8]) -> Result<FileRequest, FrameError> {
        Self::read(frame).map_err(|Malformed| FrameError::Malformed)
    }

    fn read(frame: &[u8]) -> Result<FileRequest, Malformed> {
        let mut fields = Fields::new(frame);
        let request = match fields.u8()? {
            1 => FileRequest::Put {
                path: fields.path()?,
                size: fields.u64()?,
                mode: FileMode::from_wire(fields.u8()?)?,
            },
            2 => FileRequest::Data(fields.rest()),
            3 => FileRequest::Mkdir { path: fields.path()? },
            4 => FileRequest::Collect {
                limits: CollectLimits {
                    files: fields.u32()?,
                    file_bytes: fields.u64()?,
                    total_bytes: fields.u64()?,
                    depth: u16::try_from(fields.u32()?).map_err(|_too_deep| Malformed)?,
                    entries: fields.u32()?,
                    millis: fields.u32()?,
                },
                patterns: fields.list(PATTERNS_MAX)?,
            },
            5 => FileRequest::Get {
                path: fields.path()?,
                max_bytes: fields.u64()?,
            },
            6 => {
                let path = fields.bytes()?;
                let path = if path.is_empty() {
                    None
                } else {
                    Some(CellPath::new(path)?)
                };
                FileRequest::List {
                    path,
                    max_entries: fields.u32()?,
                }
            }
            7 => FileRequest::Remove { path: fields.path()? },
            8 => FileRequest::Stat { path: fields.path()? },
            _ => return Err(Malformed),
        };
        fields.end().map(|()| request)
    }
}

impl FileReply {
    /// The frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            FileReply::Ready => Writer::new(1).finish(),
            FileReply::Done => Writer::new(2).finish(),
            FileReply::Failed { errno } => Writer::new(3).u32(errno.cast_unsigned()).finish(),
            FileReply::Refused { reason } => Writer::new(4).u8(*reason as u8).finish(),
            FileReply::Entry(Entry {
                path,
                kind,
                size,
                mode,
                modified,
            }) => {
                let writer = Writer::new(5).bytes(path).u8(*kind as u8).u64(*size);
                writer
                    .u32(u32::from(*mode))
                    .u64(modified.cast_unsigned())
                    .finish()
            }
            FileReply::FileStart { path, mode } => Writer::new(6).bytes(path).u8(*mode as u8).finish(),
            FileReply::Data(bytes) => Writer::new(7).rest(bytes).finish(),
            FileReply::FileEnd { bytes, truncated } => {
                Writer::new(8).u64(*bytes).u8(u8::from(*truncated)).finish()
            }
            FileReply::Skipped { path, reason } => Writer::new(9).bytes(path).u8(*reason as u8).finish(),
            FileReply::Finished {
                files,
                skipped,
                truncated,
            } => Writer::new(10)
                .u32(*files)
                .u32(*skipped)
                .u8(u8::from(*truncated))
                .finish(),
        }
    }

    /// Reads a frame (kind and payload, without the length).
    pub fn decode(frame: &[u8]) -> Result<FileReply, FrameError> {
        Self::read(frame).map_err(|Malformed| FrameError::Malformed)
    }

    fn read(frame: &[u8]) -> Result<FileReply, Malformed> {
        let mut fields = Fields::new(frame);
        let reply = match fields.u8()? {
            1 => FileReply::Ready,
            2 => FileReply::Done,
            3 => FileReply::Failed {
                errno: fields.u32()?.cast_signed(),
            },
            4 => FileReply::Refused {
                reason: SkipReason::from_wire(fields.u8()?)?,
            },
            5 => FileReply::Entry(Entry {
                path: fields.bytes()?.to_vec(),
                kind: EntryKind::from_wire(fields.u8()?)?,
                size: fields.u64()?,
                mode: u16::try_from(fields.u32()?).map_err(|_not_a_mode| Malformed)?,
                modified: fields.u64()?.cast_signed(),
            }),
            6 => FileReply::FileStart {
                path: fields.bytes()?.to_vec(),
                mode: FileMode::from_wire(fields.u8()?)?,
            },
            7 => FileReply::Data(fields.rest()),
            8 => FileReply::FileEnd {
                bytes: fields.u64()?,
                truncated: fields.flag()?,
            },
            9 => FileReply::Skipped {
                path: fields.bytes()?.to_vec(),
                reason: SkipReason::from_wire(fields.u8()?)?,
            },
            10 => FileReply::Finished {
                files: fields.u32()?,
                skipped: fields.u32()?,
                truncated: fields.flag()?,
            },
            _ => return Err(Malformed),
        };
        fields.end().map(|()| reply)
    }
}
