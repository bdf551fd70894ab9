//! Inputs placed and outputs collected through the enter-helper of a cell.
//!
//! The helper looked at hostile files, so what it says is checked here again: sizes against what was asked for,
//! counts against limits, and the whole exchange against a deadline. Names are bytes and are shown escaped.

use brig_core::backend::{Bulk, CollectLimits, Collected, FileSink, Upload};
use brig_core::limits::Bytes;
use brig_core::outcome::{CollectedFile, SkippedFile};
use brig_core::spec::{FileMode, OutputPattern};
use brig_jail::files::{self as wire, CellPath, DATA_MAX, FileReply, FileRequest, FrameReader, escaped};
use std::collections::HashSet;
use std::io::{self, Read};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// Time beside the walk itself: starting the helper, moving the bytes of the last file.
const GRACE: Duration = Duration::from_secs(5);
/// Longest time for placing all inputs.
const PLACE_TIME: Duration = Duration::from_secs(60);
/// Directory entries that a collection looks at.
const ENTRIES_MAX: u32 = 100_000;
/// Bytes read from the socket at once.
const READ_SIZE: usize = 64 * 1024;

/// Why files could not be placed or collected.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The socket to the helper failed or ended.
    #[error("the enter-helper is gone")]
    Helper(#[source] io::Error),
    /// The helper said something that does not fit.
    #[error("the enter-helper answered nonsense")]
    Nonsense,
    /// It took too long.
    #[error("the enter-helper took too long")]
    Deadline,
    /// A file could not be placed.
    #[error("failed to place {path}")]
    Place {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content of an input could not be read.
    #[error("failed to read the content of {path}")]
    Content {
        /// Of which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A collected file could not be kept.
    #[error("failed to keep a collected file")]
    Keep(#[source] io::Error),
}

/// A stream of bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// Bytes to and from whoever reads and writes the files of one cell.
pub type FileStream = Box<dyn Duplex>;

/// The conversation with one helper.
struct Helper {
    stream: FileStream,
    frames: FrameReader,
    deadline: Instant,
}

impl Helper {
    async fn greet(stream: FileStream, time: Duration) -> Result<Helper, FilesError> {
        let deadline = Instant::now() + time;
        let mut helper = Helper {
            stream,
            frames: FrameReader::new(),
            deadline,
        };
        match helper.receive().await? {
            FileReply::Ready => Ok(helper),
            FileReply::Failed { errno } => Err(FilesError::Helper(io::Error::from_raw_os_error(errno))),
            FileReply::Done
            | FileReply::Refused { .. }
            | FileReply::Entry(_)
            | FileReply::FileStart { .. }
            | FileReply::Data(_)
            | FileReply::FileEnd { .. }
            | FileReply::Skipped { .. }
            | FileReply::Finished { .. } => Err(FilesError::Nonsense),
        }
    }

    async fn send(&mut self, request: &FileRequest) -> Result<(), FilesError> {
        let bytes = request.encode();
        match timeout_at(self.deadline, self.stream.write_all(&bytes)).await {
            Ok(sent) => sent.map_err(FilesError::Helper),
            Err(_late) => Err(FilesError::Deadline),
        }
    }

    async fn receive(&mut self) -> Result<FileReply, FilesError> {
        loop {
            if let Some(frame) = self.frames.next_frame().map_err(|_bad| FilesError::Nonsense)? {
                return FileReply::decode(&frame).map_err(|_bad| FilesError::Nonsense);
            }
            let mut bytes = vec![0; READ_SIZE];
            let read = match timeout_at(self.deadline, self.stream.read(&mut bytes)).await {
                Ok(read) => read.map_err(FilesError::Helper)?,
                Err(_late) => return Err(FilesError::Deadline),
            };
            if read == 0 {
                return Err(FilesError::Helper(io::ErrorKind::UnexpectedEof.into()));
            }
            self.frames.push(&bytes[..read]);
        }
    }
}

/// Places `files`; the first one that fails ends it.
///
/// # Errors
/// Which file could not be placed and why, or what became of the helper.
pub async fn place(stream: FileStream, files: Vec<Upload>) -> Result<(), FilesError> {
    let mut helper = Helper::greet(stream, PLACE_TIME).await?;
    for upload in files {
        place_one(&mut helper, upload).await?;
    }
    Ok(())
}

async fn place_one(helper: &mut Helper, upload: Upload) -> Result<(), FilesError> {
    let path = upload.path.as_str().to_owned();
    let unusable = |source| FilesError::Content {
        path: path.clone(),
        source,
    };
    let mut content = Content::open(upload.content).map_err(unusable)?;
    let mode = match upload.mode {
        FileMode::Regular => wire::FileMode::Plain,
        FileMode::Executable => wire::FileMode::Executable,
    };
    let target = CellPath::new(path.as_bytes()).map_err(|error| FilesError::Place {
        path: path.clone(),
        source: io::Error::new(io::ErrorKind::InvalidInput, error),
    })?;
    helper
        .send(&FileRequest::Put {
            path: target,
            size: content.size,
            mode,
        })
        .await?;
    let mut left = content.size;
    while left > 0 {
        let part = content.next(left).map_err(unusable)?;
        left -= length(&part);
        helper.send(&FileRequest::Data(part)).await?;
    }
    let source = match helper.receive().await? {
        FileReply::Done => return Ok(()),
        FileReply::Failed { errno } => io::Error::from_raw_os_error(errno),
        FileReply::Refused { reason } => io::Error::other(reason.word()),
        FileReply::Ready
        | FileReply::Entry(_)
        | FileReply::FileStart { .. }
        | FileReply::Data(_)
        | FileReply::FileEnd { .. }
        | FileReply::Skipped { .. }
        | FileReply::Finished { .. } => return Err(FilesError::Nonsense),
    };
    Err(FilesError::Place { path, source })
}

/// What is left to send of one input.
struct Content {
    from: Box<dyn Read + Send>,
    size: u64,
}

impl Content {
    fn open(bulk: Bulk) -> io::Result<Content> {
        Ok(match bulk {
            Bulk::Memory(bytes) => {
                let size = length(&bytes);
                Content {
                    from: Box::new(io::Cursor::new(bytes)),
                    size,
                }
            }
            Bulk::File(mut file) => {
                io::Seek::rewind(&mut file)?;
                let size = file.metadata()?.len();
                Content {
                    from: Box::new(file),
                    size,
                }
            }
        })
    }

    /// The next part. A file that became shorter than it was is an error: the helper waits for the rest.
    fn next(&mut self, left: u64) -> io::Result<Vec<u8>> {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(DATA_MAX);
        let mut part = vec![0; wanted];
        self.from.read_exact(&mut part)?;
        Ok(part)
    }
}

/// Collects what matches, into `sink`.
///
/// # Errors
/// What became of the helper, or that a file could not be kept. A file that is not given out is no error.
pub async fn collect(
    stream: FileStream,
    wanted: &[OutputPattern],
    limits: CollectLimits,
    sink: &mut dyn FileSink,
) -> Result<Collected, FilesError> {
    let mut helper = Helper::greet(stream, limits.time + GRACE).await?;
    let mut collection = Collection {
        left: limits,
        seen: HashSet::new(),
        collected: Collected::default(),
    };
    for patterns in wanted.chunks(wire::PATTERNS_MAX) {
        let patterns = patterns
            .iter()
            .map(|pattern| pattern.as_str().as_bytes().to_vec())
            .collect();
        let limits = collection.limits();
        helper.send(&FileRequest::Collect { patterns, limits }).await?;
        collection.walk(&mut helper, sink).await?;
    }
    Ok(collection.collected)
}

/// A collection under way, over several requests when there are many patterns.
struct Collection {
    left: CollectLimits,
    /// Paths that were given out by an earlier request.
    seen: HashSet<Vec<u8>>,
    collected: Collected,
}

impl Collection {
    fn limits(&self) -> wire::CollectLimits {
        wire::CollectLimits {
            files: self.left.files,
            file_bytes: self.left.bytes.0,
            total_bytes: self.left.bytes.0,
            depth: u16::try_from(self.left.depth).unwrap_or(u16::MAX),
            entries: ENTRIES_MAX,
            millis: u32::try_from(self.left.time.as_millis()).unwrap_or(u32::MAX),
        }
    }

    async fn walk(&mut self, helper: &mut Helper, sink: &mut dyn FileSink) -> Result<(), FilesError> {
        loop {
            match helper.receive().await? {
                FileReply::FileStart { path, .. } => self.keep(helper, path, sink).await?,
                FileReply::Skipped { path, reason } => self.skip(&path, reason.word().to_owned()),
                FileReply::Finished {
                    skipped, truncated, ..
                } => {
                    self.finish(skipped, truncated);
                    return Ok(());
                }
                FileReply::Failed { errno } => {
                    return Err(FilesError::Helper(io::Error::from_raw_os_error(errno)));
                }
                FileReply::Ready
                | FileReply::Done
                | FileReply::Refused { .. }
                | FileReply::Entry(_)
                | FileReply::Data(_)
                | FileReply::FileEnd { .. } => return Err(FilesError::Nonsense),
            }
        }
    }

    /// One file. Its bytes are counted here, whatever the helper says at the end; nothing is kept half.
    async fn keep(
        &mut self,
        helper: &mut Helper,
        path: Vec<u8>,
        sink: &mut dyn FileSink,
    ) -> Result<(), FilesError> {
        if self.left.files == 0 {
            return Err(FilesError::Nonsense);
        }
        let shown = escaped(&path);
        if self.seen.contains(&path) {
            // An earlier request gave it out already.
            return self.receive_file(helper, None).await.map(|_size| ());
        }
        sink.begin(&shown).await.map_err(FilesError::Keep)?;
        match self.receive_file(helper, Some(&mut *sink)).await {
            Ok(Some(size)) => {
                let file = sink.end().await.map_err(FilesError::Keep)?;
                self.left.files -= 1;
                self.left.bytes = Bytes(self.left.bytes.0.saturating_sub(size));
                self.collected.files.push(CollectedFile {
                    path: shown,
                    file,
                    size,
                });
                self.seen.insert(path);
                Ok(())
            }
            Ok(None) => {
                sink.discard().await;
                self.skip(&path, "it grew while it was read".to_owned());
                Ok(())
            }
            Err(error) => {
                sink.discard().await;
                Err(error)
            }
        }
    }

    /// The bytes of one file; its size, or `None` where it was cut off.
    async fn receive_file(
        &self,
        helper: &mut Helper,
        mut sink: Option<&mut dyn FileSink>,
    ) -> Result<Option<u64>, FilesError> {
        let mut size = 0;
        loop {
            match helper.receive().await? {
                FileReply::Data(bytes) => {
                    size += length(&bytes);
                    if size > self.left.bytes.0 {
                        return Err(FilesError::Nonsense);
                    }
                    if let Some(sink) = &mut sink {
                        sink.data(&bytes).await.map_err(FilesError::Keep)?;
                    }
                }
                FileReply::FileEnd { truncated, .. } => return Ok((!truncated).then_some(size)),
                FileReply::Ready
                | FileReply::Done
                | FileReply::Failed { .. }
                | FileReply::Refused { .. }
                | FileReply::Entry(_)
                | FileReply::FileStart { .. }
                | FileReply::Skipped { .. }
                | FileReply::Finished { .. } => return Err(FilesError::Nonsense),
            }
        }
    }

    fn skip(&mut self, path: &[u8], reason: String) {
        if self.seen.contains(path) {
            return;
        }
        let skipped = SkippedFile {
            path: escaped(path),
            reason,
        };
        let room = usize::try_from(wire::SKIPPED_MAX).unwrap_or(usize::MAX);
        if self.collected.skipped.len() < room && !self.collected.skipped.contains(&skipped) {
            self.collected.skipped.push(skipped);
        }
    }

    fn finish(&mut self, skipped: u32, truncated: bool) {
        if skipped > wire::SKIPPED_MAX {
            let more = skipped - wire::SKIPPED_MAX;
            self.collected.skipped.push(SkippedFile {
                path: String::new(),
                reason: format!("{more} more were skipped"),
            });
        }
        if truncated {
            let reason = "not everything was looked at: too many entries, or too slow".to_owned();
            self.collected.skipped.push(SkippedFile {
                path: String::new(),
                reason,
            });
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
