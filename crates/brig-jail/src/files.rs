//! The protocol between the daemon and the enter-helper: files of a cell, as bounded frames on a stream socket.
//!
//! A frame is a u32 little-endian length, one byte of kind, and the payload; the length counts kind and payload
//! and is at most [`FRAME_MAX`]. The codec does no input or output, so that the daemon can use it from its async
//! runtime. The first frame of the helper is [`FileReply::Ready`]. Then one request at a time:
//!
//! ```text
//!  Put{path,size,mode} Data… (size bytes in all)  ▶  Done | Failed | Refused
//!  Mkdir, Remove                                  ▶  Done | Failed | Refused
//!  Stat                                           ▶  Entry Done | Failed | Refused
//!  List                                           ▶  Entry… Finished
//!  Get                                            ▶  FileStart Data… FileEnd Done | Failed | Refused
//!  Collect                                        ▶  (FileStart Data… FileEnd | Skipped)… Finished
//! ```
//!
//! What the helper says was written by a process that looked at hostile files: every name is bytes, every number
//! is checked again by the daemon against the limits that it asked for.

use crate::files::wire::Malformed;

mod codec;
mod glob;
mod path;
mod wire;

pub use glob::{Glob, GlobError, GlobSet, GlobState};
pub use path::{COMPONENT_MAX, CellPath, DEPTH_MAX, PATH_MAX, PathError, escaped};
pub use wire::{DATA_MAX, FRAME_MAX, FrameError, FrameReader};

/// How a file may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FileMode {
    /// 0644.
    Plain = 0,
    /// 0755.
    Executable = 1,
}

impl FileMode {
    fn from_wire(number: u8) -> Result<FileMode, Malformed> {
        match number {
            0 => Ok(FileMode::Plain),
            1 => Ok(FileMode::Executable),
            _ => Err(Malformed),
        }
    }
}

/// Bounds of a collection. Zero means zero, not "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectLimits {
    /// Most files; further ones are skipped with [`SkipReason::TooMany`].
    pub files: u32,
    /// Largest file; larger ones are skipped with [`SkipReason::TooLarge`].
    pub file_bytes: u64,
    /// All files together; what does not fit is skipped with [`SkipReason::TotalTooLarge`].
    pub total_bytes: u64,
    /// Deepest directory that is looked into; the workspace itself is depth 0.
    pub depth: u16,
    /// Most directory entries that are looked at; then the walk ends (`truncated`).
    pub entries: u32,
    /// Time for the whole walk, milliseconds; then it ends (`truncated`).
    pub millis: u32,
}

/// From the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRequest {
    /// Make or replace a file; `size` bytes follow in [`FileRequest::Data`] frames. Missing directories are made.
    Put {
        /// Where.
        path: CellPath,
        /// How many bytes follow.
        size: u64,
        /// How it may be used.
        mode: FileMode,
    },
    /// A part of the file of the last [`FileRequest::Put`], at most [`DATA_MAX`] bytes.
    Data(Vec<u8>),
    /// Make a directory, with its parents; one that exists is fine.
    Mkdir {
        /// Where.
        path: CellPath,
    },
    /// Send every regular file that a pattern matches.
    Collect {
        /// Patterns, as [`Glob`] understands them.
        patterns: Vec<Vec<u8>>,
        /// Bounds.
        limits: CollectLimits,
    },
    /// Send one file.
    Get {
        /// Which.
        path: CellPath,
        /// At most so many bytes; the rest is cut off and `truncated` says so.
        max_bytes: u64,
    },
    /// Name what is in a directory; `None` is the workspace itself.
    List {
        /// Which directory.
        path: Option<CellPath>,
        /// At most so many entries.
        max_entries: u32,
    },
    /// Remove a file, a link, or a directory with everything in it.
    Remove {
        /// Which.
        path: CellPath,
    },
    /// Describe one entry.
    Stat {
        /// Which.
        path: CellPath,
    },
}

/// What an entry is. Only [`EntryKind::File`] is ever opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A regular file.
    File = 0,
    /// A directory.
    Directory = 1,
    /// A symbolic link.
    Link = 2,
    /// A socket, a pipe, a device.
    Other = 3,
}

impl EntryKind {
    fn from_wire(number: u8) -> Result<EntryKind, Malformed> {
        match number {
            0 => Ok(EntryKind::File),
            1 => Ok(EntryKind::Directory),
            2 => Ok(EntryKind::Link),
            3 => Ok(EntryKind::Other),
            _ => Err(Malformed),
        }
    }
}

/// Why an entry is not given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SkipReason {
    /// A link, a socket, a pipe, a device, or a directory where a file was asked for.
    NotARegularFile = 0,
    /// The file has more than one name.
    SeveralLinks = 1,
    /// Larger than the limit for one file.
    TooLarge = 2,
    /// Does not fit into the limit for all files together.
    TotalTooLarge = 3,
    /// There are enough files already.
    TooMany = 4,
    /// Deeper than the limit.
    TooDeep = 5,
    /// The path is longer than [`PATH_MAX`].
    PathTooLong = 6,
    /// The program made it unreadable, or it went away.
    Unreadable = 7,
}

impl SkipReason {
    fn from_wire(number: u8) -> Result<SkipReason, Malformed> {
        const ALL: [SkipReason; 8] = [
            SkipReason::NotARegularFile,
            SkipReason::SeveralLinks,
            SkipReason::TooLarge,
            SkipReason::TotalTooLarge,
            SkipReason::TooMany,
            SkipReason::TooDeep,
            SkipReason::PathTooLong,
            SkipReason::Unreadable,
        ];
        ALL.into_iter()
            .find(|reason| *reason as u8 == number)
            .ok_or(Malformed)
    }

    /// The reason in words.
    pub fn word(self) -> &'static str {
        match self {
            SkipReason::NotARegularFile => "not a regular file",
            SkipReason::SeveralLinks => "the file has more than one link",
            SkipReason::TooLarge => "larger than the limit for one file",
            SkipReason::TotalTooLarge => "all files together are larger than the limit",
            SkipReason::TooMany => "more files than the limit",
            SkipReason::TooDeep => "deeper than the limit for directories",
            SkipReason::PathTooLong => "the path is too long",
            SkipReason::Unreadable => "not readable",
        }
    }
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path from the workspace, raw bytes; hostile. Show it with [`escaped`].
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes, as the file system says.
    pub size: u64,
    /// Permission bits.
    pub mode: u16,
    /// Last change, seconds since 1970.
    pub modified: i64,
}

/// From the helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileReply {
    /// The helper is locked down and waits for requests.
    Ready,
    /// The request was carried out.
    Done,
    /// It was not.
    Failed {
        /// The kernel's error number.
        errno: i32,
    },
    /// It was refused by the helper's own rules.
    Refused {
        /// Why.
        reason: SkipReason,
    },
    /// One entry.
    Entry(Entry),
    /// A file follows.
    FileStart {
        /// Path from the workspace, raw bytes; hostile.
        path: Vec<u8>,
        /// Whether its owner may execute it.
        mode: FileMode,
    },
    /// A part of the file.
    Data(Vec<u8>),
    /// The file is complete, or cut off at a limit.
    FileEnd {
        /// So many bytes were sent.
        bytes: u64,
        /// There was more.
        truncated: bool,
    },
    /// A matching entry that is not given out.
    Skipped {
        /// Path from the workspace, raw bytes; hostile.
        path: Vec<u8>,
        /// Why.
        reason: SkipReason,
    },
    /// The end of a walk.
    Finished {
        /// Files sent, or entries named.
        files: u32,
        /// Entries skipped (the first [`SKIPPED_MAX`] were named).
        skipped: u32,
        /// The walk ended early at a limit of entries or time.
        truncated: bool,
    },
}

/// So many skipped entries are named; the rest is only counted.
pub const SKIPPED_MAX: u32 = 256;

/// So many patterns a request may have.
pub const PATTERNS_MAX: usize = 64;

#[cfg(test)]
mod tests;
