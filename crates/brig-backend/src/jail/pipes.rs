//! The ends of a cell's pipes and of its job socket, read and written without blocking.
//!
//! When every process of the cell is gone, all writers are dead: what is left is read straight from the descriptor
//! until it is empty, so output never waits for an end of file that a leaked descriptor could hold back.

use crate::output::{Outlet, Produced};
use crate::runner::decode::{Decoder, RunnerEvent};
use brig_core::StreamName;
use brig_core::backend::Bulk;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf, pipe};
use tokio_util::sync::CancellationToken;

/// Bytes read at once: what a pipe holds.
const READ_SIZE: usize = 64 * 1024;

/// Moves one stream into the outlet until it ends. `exceeded` is called once the job produced too much.
pub(super) async fn pump(
    stream: StreamName,
    descriptor: OwnedFd,
    outlet: &Outlet,
    over: &CancellationToken,
    exceeded: impl Fn(),
) -> io::Result<()> {
    let mut reader = pipe::Receiver::from_owned_fd(descriptor)?;
    let mut bytes = vec![0; READ_SIZE];
    loop {
        outlet.room().await;
        let read = tokio::select! {
            biased;
            read = reader.read(&mut bytes) => read?,
            () = over.cancelled() => break,
        };
        if read == 0 {
            return Ok(());
        }
        if outlet.take(stream, &bytes[..read]) == Produced::Exceeded {
            exceeded();
        }
    }
    let mut rest = File::from(reader.into_nonblocking_fd()?);
    while let Some(read) = read_now(&mut rest, &mut bytes)? {
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
pub(super) async fn feed(descriptor: OwnedFd, content: Bulk, over: &CancellationToken) -> io::Result<()> {
    if matches!(&content, Bulk::Memory(bytes) if bytes.is_empty()) {
        return Ok(());
    }
    let mut writer = pipe::Sender::from_owned_fd(descriptor)?;
    let writing = async {
        match content {
            Bulk::Memory(bytes) => writer.write_all(&bytes).await,
            Bulk::File(file) => {
                let mut file = tokio::fs::File::from_std(file);
                tokio::io::AsyncSeekExt::rewind(&mut file).await?;
                tokio::io::copy(&mut file, &mut writer).await.map(|_bytes| ())
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

/// The job socket: takes the ExecSpec and what the runner needs, then tells what the runner says.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    /// The same socket, to read what is left when the cell is gone.
    rest: StdUnixStream,
}

impl Channel {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Channel> {
        let rest = StdUnixStream::from(socket);
        rest.set_nonblocking(true)?;
        let stream = UnixStream::from_std(rest.try_clone()?)?;
        Ok(Channel { stream, rest })
    }

    /// Sends what may be sent while listening, in one write where it fits into the socket.
    pub(super) fn split(&mut self) -> (Listener<'_>, Speaker<'_>) {
        let (read, write) = self.stream.split();
        (
            Listener {
                read,
                rest: &self.rest,
            },
            Speaker { write },
        )
    }
}

/// The writing half.
#[derive(Debug)]
pub(super) struct Speaker<'a> {
    write: WriteHalf<'a>,
}

impl Speaker<'_> {
    /// Writes everything, unless the cell ends first: how it ended is told elsewhere.
    pub(super) async fn say(&mut self, bytes: &[u8], over: &CancellationToken) {
        tokio::select! {
            _how = self.write.write_all(bytes) => {}
            () = over.cancelled() => {}
        }
    }
}

/// The reading half.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    read: ReadHalf<'a>,
    rest: &'a StdUnixStream,
}

impl Listener<'_> {
    /// Reads until the end of the channel or of the cell; `hear` gets every event.
    pub(super) async fn listen(&mut self, over: &CancellationToken, mut hear: impl FnMut(RunnerEvent)) {
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
                // The end, or a reset because the program closed the socket with our bytes unread.
                Ok(_) | Err(_) => return,
            }
        }
        while let Ok(Some(read)) = read_now(&mut self.rest, &mut bytes) {
            decoder.push(&bytes[..read]).into_iter().for_each(&mut hear);
        }
    }
}
