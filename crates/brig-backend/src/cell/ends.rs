//! The ends of a cell's channels, read and written without blocking.
//!
//! When every process of the cell is gone, all writers are dead: what is left is read straight from the descriptor
//! until it is empty, so output never waits for an end of file that a leaked descriptor could hold back. A channel
//! that is no descriptor of a cell's processes always ends by itself.

use crate::output::{Outlet, Produced};
use crate::runner::decode::{Decoder, RunnerEvent};
use brig_core::StreamName;
use brig_core::backend::Bulk;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

/// Bytes read at once: what a pipe holds.
const READ_SIZE: usize = 64 * 1024;

/// Our ends of a cell's channels.
#[derive(Debug)]
pub(crate) struct Ends {
    /// Takes the ExecSpec, then what the runner needs.
    pub(crate) job: WriteEnd,
    /// Standard input.
    pub(crate) stdin: WriteEnd,
    /// Standard output.
    pub(crate) stdout: ReadEnd,
    /// Standard error.
    pub(crate) stderr: ReadEnd,
    /// What the runner tells.
    pub(crate) runner: ReadEnd,
}

/// Something to read from.
pub(crate) enum ReadEnd {
    /// A pipe whose other end is in the cell.
    Pipe(pipe::Receiver),
    /// A channel of this process; it ends when the cell does.
    Channel(Box<dyn AsyncRead + Send + Sync + Unpin>),
}

/// Something to write to. Dropped, the reader finds the end.
pub(crate) enum WriteEnd {
    /// A pipe whose other end is in the cell.
    Pipe(pipe::Sender),
    /// A channel of this process.
    Channel(Box<dyn AsyncWrite + Send + Sync + Unpin>),
}

impl std::fmt::Debug for ReadEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadEnd")
    }
}

impl std::fmt::Debug for WriteEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriteEnd")
    }
}

impl ReadEnd {
    /// The read end of a pipe.
    pub(crate) fn pipe(descriptor: OwnedFd) -> io::Result<ReadEnd> {
        pipe::Receiver::from_owned_fd(descriptor).map(ReadEnd::Pipe)
    }

    async fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            ReadEnd::Pipe(pipe) => pipe.read(bytes).await,
            ReadEnd::Channel(channel) => channel.read(bytes).await,
        }
    }

    /// Every writer is dead: what is still there.
    fn rest(self) -> io::Result<Rest> {
        match self {
            ReadEnd::Pipe(pipe) => Ok(Rest::Pipe(File::from(pipe.into_nonblocking_fd()?))),
            ReadEnd::Channel(channel) => Ok(Rest::Channel(channel)),
        }
    }
}

impl WriteEnd {
    /// The write end of a pipe.
    pub(crate) fn pipe(descriptor: OwnedFd) -> io::Result<WriteEnd> {
        pipe::Sender::from_owned_fd(descriptor).map(WriteEnd::Pipe)
    }

    fn writer(&mut self) -> &mut (dyn AsyncWrite + Send + Sync + Unpin) {
        match self {
            WriteEnd::Pipe(pipe) => pipe,
            WriteEnd::Channel(channel) => &mut **channel,
        }
    }
}

/// What is left in an end whose writers are dead.
enum Rest {
    Pipe(File),
    Channel(Box<dyn AsyncRead + Send + Sync + Unpin>),
}

impl Rest {
    /// The next bytes; `None` when there are no more.
    async fn next(&mut self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Rest::Pipe(file) => read_now(file, bytes),
            Rest::Channel(channel) => channel.read(bytes).await.map(|read| (read > 0).then_some(read)),
        }
    }
}

/// Moves one stream into the outlet until it ends. `exceeded` is called once the job produced too much.
pub(super) async fn pump(
    stream: StreamName,
    mut end: ReadEnd,
    outlet: &Outlet,
    over: &CancellationToken,
    exceeded: impl Fn(),
) -> io::Result<()> {
    let mut bytes = vec![0; READ_SIZE];
    loop {
        outlet.room().await;
        let read = tokio::select! {
            biased;
            read = end.read(&mut bytes) => read?,
            () = over.cancelled() => break,
        };
        if read == 0 {
            return Ok(());
        }
        if outlet.take(stream, &bytes[..read]) == Produced::Exceeded {
            exceeded();
        }
    }
    let mut rest = end.rest()?;
    while let Some(read) = rest.next(&mut bytes).await? {
        outlet.room().await;
        outlet.take(stream, &bytes[..read]);
    }
    Ok(())
}

/// What can be read at once; `None` at the end, or when there is nothing now.
fn read_now(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match from.read(bytes) {
            Ok(0) => return Ok(None),
            Ok(read) => return Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes standard input and closes it. A program that does not read it is no fault.
pub(super) async fn feed(mut end: WriteEnd, content: Bulk, over: &CancellationToken) -> io::Result<()> {
    if matches!(&content, Bulk::Memory(bytes) if bytes.is_empty()) {
        return Ok(());
    }
    let writer = end.writer();
    let writing = async {
        match content {
            Bulk::Memory(bytes) => writer.write_all(&bytes).await,
            Bulk::File(file) => {
                let mut file = tokio::fs::File::from_std(file);
                tokio::io::AsyncSeekExt::rewind(&mut file).await?;
                tokio::io::copy(&mut file, writer).await.map(|_bytes| ())
            }
        }
    };
    tokio::select! {
        written = writing => match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        },
        () = over.cancelled() => Ok(()),
    }
}

/// The channel that takes the ExecSpec and what the runner needs.
#[derive(Debug)]
pub(super) struct Speaker {
    write: WriteEnd,
}

impl Speaker {
    pub(super) fn new(write: WriteEnd) -> Speaker {
        Speaker { write }
    }

    /// Writes everything, unless the cell ends first: how it ended is told elsewhere.
    pub(super) async fn say(&mut self, bytes: &[u8], over: &CancellationToken) {
        tokio::select! {
            _how = self.write.writer().write_all(bytes) => {}
            () = over.cancelled() => {}
        }
    }
}

/// The channel that tells what the runner says.
#[derive(Debug)]
pub(super) struct Listener {
    read: ReadEnd,
}

impl Listener {
    pub(super) fn new(read: ReadEnd) -> Listener {
        Listener { read }
    }

    /// Reads until the end of the channel or of the cell; `hear` gets every event. Who does not speak as a runner does,
    /// or says too much, is not listened to any more: the channel is closed, and reading a flood costs nobody time.
    pub(super) async fn listen(mut self, over: &CancellationToken, mut hear: impl FnMut(RunnerEvent)) {
        let mut decoder = Decoder::new();
        let mut bytes = vec![0; READ_SIZE];
        loop {
            let read = tokio::select! {
                biased;
                read = self.read.read(&mut bytes) => read,
                () = over.cancelled() => break,
            };
            match read {
                Ok(read) if read > 0 => decoder.push(&bytes[..read]).into_iter().for_each(&mut hear),
                Ok(_) | Err(_) => return,
            }
            if decoder.is_broken() {
                return;
            }
        }
        let Ok(mut rest) = self.read.rest() else {
            return;
        };
        while !decoder.is_broken()
            && let Ok(Some(read)) = rest.next(&mut bytes).await
        {
            decoder.push(&bytes[..read]).into_iter().for_each(&mut hear);
        }
    }
}
