//! The archive of a root file system as the body of a request to an engine.

use super::tar::tar_root;
use std::io::{self, Write};
use std::path::Path;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

/// Where PID 1 is in an engine's image, relative to its root.
const INIT_PATH: &str = ".brig/init";

/// Pieces of an image that are under way between the thread that reads files and the engine, and bytes of each.
pub(crate) const PIECES: usize = 8;
const PIECE: usize = 256 << 10;

/// Reads the root as an archive, with PID 1 in it. In a thread of its own.
pub(crate) fn send_root(root: &Path, init: &[u8], pieces: mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut out = Pieces {
        pieces,
        buffer: Vec::with_capacity(PIECE),
    };
    let done = tar_root(root, &[(INIT_PATH, init, 0o555)], &mut out).and_then(|()| out.flush());
    if let Err(error) = &done {
        // The engine must not take half an archive for a whole one: this breaks the request off.
        let told = io::Error::new(error.kind(), error.to_string());
        out.pieces.blocking_send(Err(told)).ok();
    }
    done
}

/// A writer whose bytes go to the request's body.
struct Pieces {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE)));
        let sent = self.pieces.blocking_send(Ok(piece));
        sent.map_err(|_nobody_takes_it| io::ErrorKind::BrokenPipe.into())
    }
}
