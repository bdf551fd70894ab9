//! The output of one job on its way to the engine: counted, limited, redacted, and never more than a little of it
//! in memory. When the engine cannot take it as fast, the program waits in its `write`, as it would at a
//! terminal; its time limit goes on.

use crate::redact::{Redactor, Secrets};
use brig_core::StreamName;
use brig_core::backend::{OutputPiece, OutputSink};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes that may wait for the engine before the program has to.
const WAITING_MAX: usize = 256 * 1024;
/// Largest piece that smaller ones are joined to.
const PIECE_MAX: usize = 64 * 1024;

/// Whether the job may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Produced {
    /// Within its limit.
    Within,
    /// These bytes went beyond the limit on what a job may produce: end it.
    Exceeded,
}

/// Between the two pipes of a job and the engine's sink.
#[derive(Debug)]
pub struct Outlet {
    inner: Mutex<Inner>,
    secrets: Secrets,
    /// Most bytes on both streams together.
    most: u64,
    ready: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<OutputPiece>,
    waiting_bytes: usize,
    produced: u64,
    stdout: Stream,
    stderr: Stream,
    closed: bool,
}

#[derive(Debug, Default)]
struct Stream {
    redactor: Redactor,
    bytes: u64,
}

impl Inner {
    fn stream(&mut self, name: StreamName) -> &mut Stream {
        match name {
            StreamName::Stdout => &mut self.stdout,
            StreamName::Stderr => &mut self.stderr,
        }
    }

    fn put(&mut self, stream: StreamName, data: Vec<u8>) {
        if data.is_empty() {
            return;
        }
        self.waiting_bytes += data.len();
        match self.waiting.back_mut() {
            Some(last) if last.stream == stream && last.data.len() + data.len() <= PIECE_MAX => {
                last.data.extend_from_slice(&data);
            }
            _ => self.waiting.push_back(OutputPiece { stream, data }),
        }
    }
}

impl Outlet {
    /// An outlet that takes at most `most` bytes and shows none of `secrets`.
    #[must_use]
    pub fn new(most: u64, secrets: Secrets) -> Self {
        Self {
            inner: Mutex::default(),
            secrets,
            most,
            ready: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Takes what a stream gave. Bytes beyond the limit are counted, not kept.
    pub fn take(&self, stream: StreamName, bytes: &[u8]) -> Produced {
        let mut inner = self.lock();
        let room = self.most.saturating_sub(inner.produced);
        inner.produced = inner.produced.saturating_add(length(bytes));
        let kept = &bytes[..usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len())];
        let lost = length(bytes) - length(kept);
        let shown = inner.stream(stream).redactor.push(&self.secrets, kept);
        // Counted as shown, so that a redacted stream does not look like a truncated one.
        inner.stream(stream).bytes += length(&shown) + lost;
        inner.put(stream, shown);
        drop(inner);
        self.ready.notify_one();
        if lost == 0 {
            Produced::Within
        } else {
            Produced::Exceeded
        }
    }

    /// Waits until there is room for more.
    pub async fn room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the look, so that no notice is missed in between.
            room.as_mut().enable();
            if self.lock().waiting_bytes < WAITING_MAX {
                return;
            }
            room.await;
        }
    }

    /// Both streams have ended: what the redactors held back is let go.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        for stream in [StreamName::Stdout, StreamName::Stderr] {
            let rest = inner.stream(stream).redactor.finish();
            inner.stream(stream).bytes += length(&rest);
            inner.put(stream, rest);
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// Gives everything to `sink`, until closed and empty.
    pub async fn deliver(&self, sink: &dyn OutputSink) {
        loop {
            let (piece, closed) = self.next();
            match piece {
                Some(piece) => {
                    self.room.notify_waiters();
                    sink.output(piece).await;
                }
                None if closed => return,
                None => self.ready.notified().await,
            }
        }
    }

    /// Bytes of stdout and stderr, including those beyond the limit.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.stdout.bytes, inner.stderr.bytes)
    }

    /// The secrets of this job.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    fn next(&self) -> (Option<OutputPiece>, bool) {
        let mut inner = self.lock();
        let piece = inner.waiting.pop_front();
        inner.waiting_bytes -= piece.as_ref().map_or(0, |piece| piece.data.len());
        (piece, inner.closed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;

    #[derive(Default)]
    struct Collected(Mutex<Vec<OutputPiece>>);

    #[async_trait]
    impl OutputSink for Collected {
        async fn output(&self, piece: OutputPiece) {
            self.0.lock().unwrap().push(piece);
        }
    }

    fn piece(stream: StreamName, data: &[u8]) -> OutputPiece {
        OutputPiece {
            stream,
            data: data.to_vec(),
        }
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_neighbours_are_joined() {
        let outlet = Outlet::new(1_000, Secrets::default());
        for (stream, data) in [
            (StreamName::Stdout, b"a".as_slice()),
            (StreamName::Stdout, b"b"),
            (StreamName::Stderr, b"c"),
            (StreamName::Stdout, b"d"),
        ] {
            assert_eq!(outlet.take(stream, data), Produced::Within);
        }
        outlet.close();
        let sink = Collected::default();
        outlet.deliver(&sink).await;
        let expected = [
            piece(StreamName::Stdout, b"ab"),
            piece(StreamName::Stderr, b"c"),
            piece(StreamName::Stdout, b"d"),
        ];
        assert_eq!(*sink.0.lock().unwrap(), expected);
        assert_eq!(outlet.totals(), (3, 1));
    }

    #[tokio::test]
    async fn what_exceeds_the_limit_is_counted_but_not_kept() {
        let outlet = Outlet::new(4, Secrets::default());
        assert_eq!(outlet.take(StreamName::Stdout, b"abc"), Produced::Within);
        assert_eq!(outlet.take(StreamName::Stderr, b"de"), Produced::Exceeded);
        assert_eq!(outlet.take(StreamName::Stdout, &[b'x'; 1000]), Produced::Exceeded);
        outlet.close();
        let sink = Collected::default();
        outlet.deliver(&sink).await;
        assert_eq!(
            *sink.0.lock().unwrap(),
            [piece(StreamName::Stdout, b"abc"), piece(StreamName::Stderr, b"d")]
        );
        assert_eq!(outlet.totals(), (1_003, 2));
    }

    #[tokio::test]
    async fn a_full_outlet_gives_room_when_the_sink_took_something() {
        let outlet = Outlet::new(u64::MAX, Secrets::default());
        let sink = Collected::default();
        let writer = async {
            for _ in 0..64 {
                outlet.room().await;
                outlet.take(StreamName::Stdout, &[0; PIECE_MAX]);
                assert!(outlet.lock().waiting_bytes <= WAITING_MAX + PIECE_MAX);
            }
            outlet.close();
        };
        tokio::join!(writer, outlet.deliver(&sink));
        assert_eq!(outlet.totals(), (64 * 64 * 1024, 0));
    }

    #[tokio::test]
    async fn a_redacted_stream_counts_as_it_is_shown() {
        let outlet = Outlet::new(1_000, Secrets::new(["hunter2"]));
        outlet.take(StreamName::Stdout, b"pass hunt");
        outlet.take(StreamName::Stdout, b"er2");
        outlet.close();
        let sink = Collected::default();
        outlet.deliver(&sink).await;
        assert_eq!(
            *sink.0.lock().unwrap(),
            [piece(StreamName::Stdout, b"pass [redacted]")]
        );
        assert_eq!(outlet.totals(), (15, 0));
    }
}
