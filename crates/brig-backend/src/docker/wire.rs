//! A container's wire in the runtime: one task moves bytes between the socket and the [`Mux`]; readers and writers of
//! its channels wait in their own tasks.

use super::mux::{End, Mux, Nonsense};
use brig_jail::container::wire::{DownChannel, Posture, Start, UpChannel};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Bytes read from the socket at once.
const READ_SIZE: usize = 64 * 1024;
/// How often bytes that nobody wants are thrown away.
const TICK: Duration = Duration::from_millis(50);

/// Why nothing moves on a wire any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The stream ended, or failed.
    Ended,
    /// The container does not keep to the protocol.
    Nonsense(Nonsense),
}

/// The wire of one container.
#[derive(Debug)]
pub(super) struct Wire {
    inner: Mutex<Inner>,
    /// Something may go out.
    outgoing: Notify,
    /// The posture, the end, the state of files or of the stream changed.
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    mux: Mux,
    broken: Option<Broken>,
    readers: [Option<Waker>; UpChannel::ALL.len()],
    writers: [Option<Waker>; DownChannel::ALL.len()],
}

impl Inner {
    fn wake(&mut self) {
        let waiting = self.readers.iter_mut().chain(&mut self.writers);
        waiting.filter_map(Option::take).for_each(Waker::wake);
    }

    fn break_off(&mut self, broken: Broken) {
        self.mux.hang_up();
        self.broken.get_or_insert(broken);
        self.wake();
    }
}

impl Wire {
    pub(super) fn new() -> Arc<Wire> {
        Arc::new(Wire {
            inner: Mutex::new(Inner {
                mux: Mux::new(),
                broken: None,
                readers: Default::default(),
                writers: Default::default(),
            }),
            outgoing: Notify::new(),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves bytes until the stream ends or the container talks nonsense. The future may be dropped at any time.
    pub(super) async fn carry(self: Arc<Wire>, stream: UnixStream) {
        // Whoever waits on this wire hears of its end, however this future ends.
        let hang_up = HangUp(&self);
        let broken = match self.move_bytes(&stream).await {
            Ok(broken) => broken,
            Err(error) => {
                warn!(%error, "the stream of a container failed");
                Broken::Ended
            }
        };
        if let Broken::Nonsense(nonsense) = broken {
            warn!(%nonsense, "a container does not keep to the protocol");
        }
        self.lock().break_off(broken);
        drop(hang_up);
    }

    async fn move_bytes(&self, stream: &UnixStream) -> io::Result<Broken> {
        let mut bytes = vec![0; READ_SIZE];
        let mut out = Vec::new();
        let mut sent = 0;
        let mut tick = Instant::now() + TICK;
        loop {
            let mut ticking = false;
            if sent == out.len() {
                out.clear();
                sent = 0;
                let mut inner = self.lock();
                inner.mux.outgoing(&mut out);
                ticking = inner.mux.needs_tick();
                // There is room in the queues, and a conversation about files may be over.
                inner.wake();
                drop(inner);
                self.changed.notify_waiters();
            }
            let interest = if sent < out.len() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            tokio::select! {
                ready = stream.ready(interest) => {
                    let ready = ready?;
                    if ready.is_writable() && sent < out.len() {
                        match stream.try_write(&out[sent..]) {
                            Ok(count) => sent += count,
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                            // What it said before it went still counts.
                            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => sent = out.len(),
                            Err(error) => return Err(error),
                        }
                    }
                    if ready.is_readable() && let Some(broken) = self.take(stream, &mut bytes)? {
                        return Ok(broken);
                    }
                }
                () = self.outgoing.notified(), if sent == out.len() => {}
                () = sleep_until(tick), if ticking => {
                    self.lock().mux.tick();
                    tick = Instant::now() + TICK;
                }
            }
        }
    }

    /// Takes what the socket has now.
    fn take(&self, stream: &UnixStream, bytes: &mut [u8]) -> io::Result<Option<Broken>> {
        let read = match stream.try_read(bytes) {
            Ok(0) => return Ok(Some(Broken::Ended)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Some(Broken::Ended)),
            Err(error) => return Err(error),
        };
        let mut inner = self.lock();
        let received = inner.mux.receive(&bytes[..read]);
        inner.wake();
        drop(inner);
        self.changed.notify_waiters();
        Ok(received.err().map(Broken::Nonsense))
    }

    /// Waits until `look` finds what it looks for.
    async fn until<T>(&self, mut look: impl FnMut(&mut Inner) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change is missed in between.
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Nothing more is wanted of the container.
    pub(super) fn hang_up(&self) {
        self.lock().break_off(Broken::Ended);
        self.changed.notify_waiters();
    }

    /// Waits until the container has greeted; tells what it found around itself.
    pub(super) async fn greeted(&self) -> Result<Posture, Broken> {
        self.until(|inner| match (inner.mux.posture(), inner.broken) {
            (Some(posture), _) => Some(Ok(posture)),
            (None, Some(broken)) => Some(Err(broken)),
            (None, None) => None,
        })
        .await
    }

    /// Waits until the job is over, as the container says.
    pub(super) async fn ended(&self) -> Result<End, Broken> {
        self.until(|inner| match (inner.mux.end(), inner.broken) {
            // Whoever talks nonsense later is not believed what it said before.
            (_, Some(broken @ Broken::Nonsense(_))) => Some(Err(broken)),
            (Some(end), _) => Some(Ok(end)),
            (None, Some(broken)) => Some(Err(broken)),
            (None, None) => None,
        })
        .await
    }

    /// Begins a conversation about files, once an earlier one is over.
    pub(super) async fn open_files(self: &Arc<Wire>) -> Result<FilesChannel, Broken> {
        self.until(|inner| match inner.broken {
            Some(broken) => Some(Err(broken)),
            None => inner.mux.open_files().then_some(Ok(())),
        })
        .await?;
        self.outgoing.notify_one();
        Ok(FilesChannel {
            wire: Arc::clone(self),
        })
    }

    /// The program is to start.
    pub(super) fn start(&self, start: Start) {
        self.lock().mux.start(start);
        self.outgoing.notify_one();
    }

    /// The dead-man timer starts anew.
    pub(super) fn renew(&self, lease_nanos: u64) {
        self.lock().mux.renew(lease_nanos);
        self.outgoing.notify_one();
    }

    pub(super) fn reader(self: &Arc<Wire>, channel: UpChannel) -> Reader {
        let wire = Arc::clone(self);
        Reader { wire, channel }
    }

    pub(super) fn writer(self: &Arc<Wire>, channel: DownChannel) -> Writer {
        let wire = Arc::clone(self);
        Writer { wire, channel }
    }

    fn poll_read(&self, channel: UpChannel, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<()> {
        let mut inner = self.lock();
        match inner.mux.read(channel, buf.initialize_unfilled()) {
            Some(count) => {
                buf.advance(count);
                drop(inner);
                // Credit may be due.
                self.outgoing.notify_one();
                Poll::Ready(())
            }
            None => {
                inner.readers[reader_slot(channel)] = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_write(
        &self,
        channel: DownChannel,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        match inner.mux.write(channel, bytes) {
            Ok(Some(count)) => {
                drop(inner);
                self.outgoing.notify_one();
                Poll::Ready(Ok(count))
            }
            Ok(None) => {
                inner.writers[writer_slot(channel)] = Some(cx.waker().clone());
                Poll::Pending
            }
            Err(super::mux::Refused) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn close(&self, channel: DownChannel) {
        self.lock().mux.close(channel);
        self.outgoing.notify_one();
    }
}

fn reader_slot(channel: UpChannel) -> usize {
    match channel {
        UpChannel::Files => 0,
        UpChannel::Stdout => 1,
        UpChannel::Stderr => 2,
        UpChannel::Runner => 3,
    }
}

fn writer_slot(channel: DownChannel) -> usize {
    match channel {
        DownChannel::Job => 0,
        DownChannel::Stdin => 1,
        DownChannel::Files => 2,
    }
}

/// Tells everyone who waits on a wire that nothing moves any more.
struct HangUp<'a>(&'a Wire);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

/// Reads a channel.
#[derive(Debug)]
pub(super) struct Reader {
    wire: Arc<Wire>,
    channel: UpChannel,
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_read(self.channel, cx, buf).map(Ok)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.wire.lock().mux.discard(self.channel);
        self.wire.outgoing.notify_one();
    }
}

/// Writes a channel; dropped, it ends the channel.
#[derive(Debug)]
pub(super) struct Writer {
    wire: Arc<Wire>,
    channel: DownChannel,
}

impl AsyncWrite for Writer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.poll_write(self.channel, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.close(self.channel);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.wire.close(self.channel);
    }
}

/// A conversation about files; dropped, it is over.
#[derive(Debug)]
pub(super) struct FilesChannel {
    wire: Arc<Wire>,
}

impl AsyncRead for FilesChannel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_read(UpChannel::Files, cx, buf).map(Ok)
    }
}

impl AsyncWrite for FilesChannel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.poll_write(DownChannel::Files, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.close(DownChannel::Files);
        Poll::Ready(Ok(()))
    }
}

impl Drop for FilesChannel {
    fn drop(&mut self) {
        self.wire.lock().mux.leave_files();
        self.wire.outgoing.notify_one();
        self.wire.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
