//! The journal of one attempt: takes events while the program runs and commits them in batches.
//!
//! A batch is whatever arrived while the batch before was being committed: no timer, no commit per piece, and the
//! first piece is told at once. When the store is slower than the program, the program waits. Only a program that
//! writes crumbs for long is paced, because each commit costs the disk far more than the crumb.

use super::Engine;
use super::ledger::Ledger;
use super::seat::Seat;
use crate::clock;
use async_trait::async_trait;
use brig_core::backend::{OutputPiece, OutputSink};
use brig_core::outcome::StreamSummary;
use brig_core::spec::Blob;
use brig_core::store::{StoreError, Trim};
use brig_core::{EventBody, JobEventRecord, KillCause, StreamName};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, warn};

/// Bytes that may wait for a commit before the program has to wait.
const PENDING_MAX: usize = 1024 * 1024;
/// Bytes that are worth a commit at any time.
const BATCH_FULL: usize = 128 * 1024;
/// Small commits that may follow each other without a pause.
const BURST: u32 = 64;
/// The pause between small commits after that; the burst comes back at this rate.
const PACE: Duration = Duration::from_millis(10);
/// How long a full disk is waited for before the program is given up.
const ROOM_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const ROOM_PAUSE: Duration = Duration::from_millis(250);
/// Bytes that may be left to the final commit.
const LAST_MAX: usize = 64 * 1024;

/// Events of one attempt that are on their way to the store.
pub(crate) struct Journal {
    inner: Mutex<Inner>,
    work: Notify,
    room: Notify,
}

struct Inner {
    pending: VecDeque<EventBody>,
    pending_bytes: usize,
    /// Bytes taken so far, per stream, to find the end of the head.
    taken: [u64; 2],
    ledger: Ledger,
    phase: Phase,
    /// What broke it.
    failure: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Takes and commits.
    Open,
    /// The program has ended: what is left belongs to the final commit.
    Closed,
    /// The store failed: everything is thrown away, and the program is killed.
    Broken,
}

impl Journal {
    /// An empty journal that keeps this much of each stream.
    pub(crate) fn new(kept: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                pending: VecDeque::new(),
                pending_bytes: 0,
                taken: [0; 2],
                ledger: Ledger::new(kept),
                phase: Phase::Open,
                failure: None,
            }),
            work: Notify::new(),
            room: Notify::new(),
        })
    }

    /// Takes an event.
    pub(crate) fn tell(&self, event: EventBody) {
        self.lock().pending.push_back(event);
        self.work.notify_one();
    }

    /// Nothing comes any more.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        if inner.phase == Phase::Open {
            inner.phase = Phase::Closed;
        }
        drop(inner);
        self.work.notify_one();
    }

    /// Why the store did not take everything, if it did not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Commits batches until closed; then all but a small rest, which is given back for the final commit.
    pub(crate) async fn commit(self: Arc<Self>, engine: Arc<Engine>, seat: Arc<Seat>) -> Vec<EventBody> {
        let mut burst = Burst::new();
        loop {
            let (batch, phase) = self.take_batch();
            match phase {
                Phase::Broken => return Vec::new(),
                Phase::Closed if self.may_be_last(&batch) => {
                    if let Err(error) = self.trim(&engine, &seat).await {
                        self.give_up(&seat, &error);
                    }
                    return batch.events;
                }
                Phase::Open if batch.events.is_empty() => self.work.notified().await,
                Phase::Open | Phase::Closed => {
                    if let Err(error) = self.commit_batch(batch, &engine, &seat).await {
                        self.give_up(&seat, &error);
                    }
                    if !burst.take() {
                        self.pause().await;
                    }
                }
            }
        }
    }

    /// Whether the final commit may take it: it is small, and nothing would have to be dropped for it.
    fn may_be_last(&self, batch: &Batch) -> bool {
        let inner = self.lock();
        let fits = |stream| inner.ledger.has_room_for(stream, bytes_of(&batch.events, stream));
        batch.bytes <= LAST_MAX && fits(StreamName::Stdout) && fits(StreamName::Stderr)
    }

    /// Lets more arrive, for a moment at most.
    async fn pause(&self) {
        let until = Instant::now() + PACE;
        while !self.is_worth_a_commit() {
            if tokio::time::timeout_at(until, self.work.notified())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    fn is_worth_a_commit(&self) -> bool {
        let inner = self.lock();
        inner.phase != Phase::Open || inner.pending_bytes >= BATCH_FULL
    }

    async fn commit_batch(&self, batch: Batch, engine: &Engine, seat: &Seat) -> Result<(), StoreError> {
        let trim = self.lock().ledger.next_trim();
        let records = append(engine, seat, batch.events, trim).await?;
        let fresh = self.record(records);
        engine.publish(fresh, None);
        self.trim(engine, seat).await
    }

    /// Drops what is beyond head and tail.
    async fn trim(&self, engine: &Engine, seat: &Seat) -> Result<(), StoreError> {
        loop {
            let Some(trim) = self.lock().ledger.next_trim() else {
                return Ok(());
            };
            append(engine, seat, Vec::new(), Some(trim)).await?;
        }
    }

    /// Remembers what the store numbered; gives what watchers have not seen.
    fn record(&self, records: Vec<JobEventRecord>) -> Vec<JobEventRecord> {
        let mut inner = self.lock();
        for record in &records {
            if let EventBody::Output { stream, data } = &record.body {
                inner.ledger.record(record.seq, *stream, length(&data.0));
            }
        }
        // Watchers saw the pieces that a gap stands for.
        let is_news = |record: &JobEventRecord| !matches!(record.body, EventBody::Gap { .. });
        records.into_iter().filter(is_news).collect()
    }

    fn give_up(&self, seat: &Seat, error: &StoreError) {
        error!(job = %seat.attempt.job, %error, "output cannot be stored; the program is killed");
        let mut inner = self.lock();
        inner.phase = Phase::Broken;
        inner.failure.get_or_insert_with(|| error.to_string());
        inner.pending.clear();
        drop(inner);
        self.room.notify_waiters();
        seat.kill(KillCause::Abandoned);
    }

    fn take_batch(&self) -> (Batch, Phase) {
        let mut inner = self.lock();
        let batch = Batch {
            events: std::mem::take(&mut inner.pending).into(),
            bytes: std::mem::take(&mut inner.pending_bytes),
        };
        let phase = inner.phase;
        drop(inner);
        self.room.notify_waiters();
        (batch, phase)
    }

    /// What a stream amounts to once the final commit, with `rest`, is made.
    pub(crate) fn summary(&self, stream: StreamName, produced: u64, rest: &[EventBody]) -> StreamSummary {
        let inner = self.lock();
        let unwritten = bytes_of(rest, stream);
        let kept = inner.ledger.kept(stream) + unwritten;
        // A backend counts bytes as they are shown, so a redacted stream is not a truncated one.
        StreamSummary {
            produced_bytes: produced,
            kept_bytes: kept.min(produced),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to the job's events. While the disk is full the program waits, as for any slow store: somebody may make room.
async fn append(
    engine: &Engine,
    seat: &Seat,
    events: Vec<EventBody>,
    trim: Option<Trim>,
) -> Result<Vec<JobEventRecord>, StoreError> {
    let patience = Instant::now() + ROOM_PATIENCE;
    loop {
        let now = clock::now();
        match engine.store.append(seat.attempt, events.clone(), trim, now).await {
            Err(StoreError::DiskFull) if Instant::now() < patience && seat.killed().is_none() => {
                warn!(job = %seat.attempt.job, "the disk is full; the program waits for room");
                tokio::time::sleep(ROOM_PAUSE).await;
            }
            told => return told,
        }
    }
}

/// Small commits that may still follow each other without a pause.
struct Burst {
    left: u32,
    since: Instant,
}

impl Burst {
    fn new() -> Self {
        Self {
            left: BURST,
            since: Instant::now(),
        }
    }

    /// Takes one, if there is one.
    fn take(&mut self) -> bool {
        let back = self.since.elapsed().as_millis() / PACE.as_millis();
        if let Ok(back @ 1..) = u32::try_from(back) {
            self.left = self.left.saturating_add(back).min(BURST);
            self.since = Instant::now();
        }
        let one = self.left.checked_sub(1);
        self.left = one.unwrap_or(0);
        one.is_some()
    }
}

struct Batch {
    events: Vec<EventBody>,
    bytes: usize,
}

impl Inner {
    /// Adds output to the newest pending piece where it may, else as new pieces.
    fn push(&mut self, stream: StreamName, mut data: &[u8]) {
        let head = self.ledger.head();
        let piece_max = self.ledger.piece_max();
        while !data.is_empty() {
            let taken = &mut self.taken[usize::from(stream == StreamName::Stderr)];
            // A new piece begins exactly where the head ends, so that no piece is half head and half tail.
            let extends = *taken != head
                && matches!(self.pending.back(), Some(EventBody::Output { stream: of, data: piece })
                    if *of == stream && piece.0.len() < piece_max);
            if !extends {
                let data = Blob::default();
                self.pending.push_back(EventBody::Output { stream, data });
            }
            let Some(EventBody::Output { data: piece, .. }) = self.pending.back_mut() else {
                return;
            };
            let until_head_ends = usize::try_from(head.saturating_sub(*taken)).unwrap_or(usize::MAX);
            let room = piece_max - piece.0.len();
            let fits = if until_head_ends == 0 {
                room
            } else {
                room.min(until_head_ends)
            };
            let (now, later) = data.split_at(data.len().min(fits));
            piece.0.extend_from_slice(now);
            *taken += length(now);
            self.pending_bytes += now.len();
            data = later;
        }
    }
}

#[async_trait]
impl OutputSink for Journal {
    async fn output(&self, piece: OutputPiece) {
        loop {
            // Made before the look, so that no notice is missed in between.
            let room = self.room.notified();
            {
                let mut inner = self.lock();
                if inner.phase != Phase::Open {
                    return;
                }
                if inner.pending_bytes < PENDING_MAX {
                    inner.push(piece.stream, &piece.data);
                    break;
                }
            }
            room.await;
        }
        self.work.notify_one();
    }
}

/// Output of one stream among these events.
fn bytes_of(events: &[EventBody], stream: StreamName) -> u64 {
    let bytes = events.iter().map(|event| match event {
        EventBody::Output { stream: of, data } if *of == stream => length(&data.0),
        EventBody::Queued
        | EventBody::Started { .. }
        | EventBody::Output { .. }
        | EventBody::Requeued { .. }
        | EventBody::Cancelling
        | EventBody::Ended { .. }
        | EventBody::Gap { .. } => 0,
    });
    bytes.sum()
}

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
