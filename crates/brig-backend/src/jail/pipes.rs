//! The ends of a cell's pipes, read and written without blocking.
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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
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

/// The pipe that takes the ExecSpec and what the runner needs.
#[derive(Debug)]
pub(super) struct Speaker {
    write: pipe::Sender,
}

impl Speaker {
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<Speaker> {
        let write = pipe::Sender::from_owned_fd(descriptor)?;
        Ok(Speaker { write })
    }

    /// Writes everything, unless the cell ends first: how it ended is told elsewhere.
    pub(super) async fn say(&mut self, bytes: &[u8], over: &CancellationToken) {
        tokio::select! {
            _how = self.write.write_all(bytes) => {}
            () = over.cancelled() => {}
        }
    }
}

/// The pipe that tells what the runner says.
#[derive(Debug)]
pub(super) struct Listener {
    read: pipe::Receiver,
}

impl Listener {
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<Listener> {
        let read = pipe::Receiver::from_owned_fd(descriptor)?;
        Ok(Listener { read })
    }

    /// Reads until the end of the pipe or of the cell; `hear` gets every event. Who does not speak as a runner does,
    /// or says too much, is not listened to any more: the pipe is closed, and reading a flood costs nobody time.
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
        let Ok(rest) = self.read.into_nonblocking_fd() else {
            return;
        };
        let mut rest = File::from(rest);
        while !decoder.is_broken()
            && let Ok(Some(read)) = read_now(&mut rest, &mut bytes)
        {
            decoder.push(&bytes[..read]).into_iter().for_each(&mut hear);
        }
    }
}
