//! How many connections there may be. Each costs a descriptor, and a daemon without free ones can take no cell from
//! the keeper: somebody who only connects and says nothing would stop every job.

use super::connection::{Connection, Peer};
use futures_util::stream::{BoxStream, StreamExt};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tonic::transport::server::Connected;
use tracing::warn;

/// Connections at once, from everybody.
const ALL_MAX: usize = 1_024;
/// Connections at once from one user of the host; the rest stays free for others.
const PEER_MAX: usize = 512;
/// A connection begins with these many bytes that every client of HTTP/2 sends at once.
const GREETING_BYTES: usize = 24;
/// How long they may take.
const GREETING_TIME: Duration = Duration::from_secs(10);
/// How often the log says that there is no room.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Lets connections in as long as there is room; the others are closed.
pub(super) fn admit(
    connections: BoxStream<'static, io::Result<Connection>>,
) -> BoxStream<'static, io::Result<Admitted>> {
    let guests = Guests::default();
    connections
        .filter_map(move |connection| {
            let admitted = match connection {
                Ok(connection) => guests.seat(connection).map(Ok),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(admitted)
        })
        .boxed()
}

/// Who is connected how often.
#[derive(Debug, Clone, Default)]
struct Guests(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    counts: HashMap<Arc<str>, usize>,
    /// When somebody was last told that there is no room.
    told: Option<Instant>,
}

impl Guests {
    fn seat(&self, connection: Connection) -> Option<Admitted> {
        let name = connection.connect_info().name;
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = book.counts.values().sum();
        let mine = book.counts.get(&name).copied().unwrap_or(0);
        if all >= ALL_MAX || mine >= PEER_MAX {
            if book.told.is_none_or(|told| told.elapsed() > TELL_AGAIN) {
                book.told = Some(Instant::now());
                warn!(peer = %name, its = mine, all, "no room for another connection");
            }
            return None;
        }
        book.counts.insert(Arc::clone(&name), mine + 1);
        drop(book);
        let seat = Seat {
            guests: self.clone(),
            name,
        };
        Some(Admitted {
            connection,
            greeting: Some((0, Box::pin(tokio::time::sleep(GREETING_TIME)))),
            _seat: seat,
        })
    }
}

/// Free again when the connection ends.
#[derive(Debug)]
struct Seat {
    guests: Guests,
    name: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut book = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = book.counts.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                book.counts.remove(&self.name);
            }
        }
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    connection: Connection,
    /// Bytes of the greeting that came, and the end of the time for it; `None` once it is complete.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
    _seat: Seat,
}

impl Connected for Admitted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.connection.connect_info()
    }
}

impl AsyncRead for Admitted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.connection).poll_read(cx, buf);
        if let Some((come, end)) = &mut this.greeting {
            *come += buf.filled().len() - before;
            if *come >= GREETING_BYTES {
                this.greeting = None;
            } else if end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(cx)
    }
}
