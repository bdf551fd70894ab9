//! Watching a job: replay from the store, then the live feed; never twice, never silently less.
//!
//! A live feed is a hint that saves reads: numbers decide. A watcher that falls behind its bounded buffer, or sees
//! a number out of order, goes back to the store, which has everything that was told.

use super::{Engine, EngineError};
use brig_core::store::Job;
use brig_core::{EventBody, JobEventRecord, JobId, TenantId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Events that a watcher may be behind before it reads the store; a piece of output has at most 64 KiB.
const BUFFER: usize = 64;
/// Events that are read from the store at once.
const PAGE: u32 = 256;

/// An event, with the whole record of its job where it is the last one and that is at hand.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) record: Arc<JobEventRecord>,
    pub(crate) ended: Option<Arc<Job>>,
}

/// Live feeds of jobs that somebody watches.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    live: Mutex<HashMap<JobId, broadcast::Sender<Seen>>>,
}

impl Feeds {
    /// Everything that is told from now on.
    fn subscribe(&self, job: JobId) -> broadcast::Receiver<Seen> {
        let mut live = self.lock();
        live.entry(job)
            .or_insert_with(|| broadcast::channel(BUFFER).0)
            .subscribe()
    }

    /// Tells watchers; forgets the feed after the last event, or when nobody watches any more.
    pub(crate) fn send(&self, job: JobId, seen: Seen, is_end: bool) {
        let mut live = self.lock();
        let nobody = live.get(&job).is_some_and(|feed| feed.send(seen).is_err());
        if nobody || is_end {
            live.remove(&job);
        }
    }

    /// The last watcher of a job goes: its feed is forgotten.
    fn leave(&self, job: JobId) {
        let mut live = self.lock();
        // The one that goes is still counted.
        if live.get(&job).is_some_and(|feed| feed.receiver_count() <= 1) {
            live.remove(&job);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, broadcast::Sender<Seen>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a watcher gets its next event from.
#[derive(Debug)]
enum Source {
    /// Already read.
    Page(VecDeque<JobEventRecord>),
    /// As it happens.
    Live,
    /// There are no more.
    Over,
}

/// One watcher's view of one job.
#[derive(Debug)]
pub(crate) struct Watch {
    engine: Arc<Engine>,
    tenant: TenantId,
    job: JobId,
    next: u64,
    live: broadcast::Receiver<Seen>,
    source: Source,
}

impl Watch {
    /// Watches a job that is about to be submitted under this id: its first event will be told live.
    pub(crate) fn of_new(engine: &Arc<Engine>, tenant: TenantId, job: JobId) -> Self {
        Self {
            live: engine.feeds.subscribe(job),
            engine: Arc::clone(engine),
            tenant,
            job,
            next: 1,
            source: Source::Live,
        }
    }

    /// Watches a job from one of its events on.
    pub(crate) async fn of_existing(
        engine: &Arc<Engine>,
        tenant: TenantId,
        job: JobId,
        from: u64,
    ) -> Result<Self, EngineError> {
        // Known to this tenant, or refused before anything is sent.
        engine.store.get(&tenant, job).await?;
        Ok(Self {
            live: engine.feeds.subscribe(job),
            engine: Arc::clone(engine),
            tenant,
            job,
            next: from.max(1),
            source: Source::Page(VecDeque::new()),
        })
    }

    /// When streams must end.
    pub(crate) fn streams_end(&self) -> CancellationToken {
        self.engine.streams_end.clone()
    }

    /// The next event; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Seen>, EngineError> {
        loop {
            match &mut self.source {
                Source::Over => return Ok(None),
                Source::Live => {
                    if let Some(seen) = self.next_live().await {
                        return Ok(Some(seen));
                    }
                }
                Source::Page(page) if page.is_empty() => self.read_page().await?,
                Source::Page(page) => {
                    let is_end = page
                        .front()
                        .is_some_and(|record| matches!(record.body, EventBody::Ended { .. }));
                    // Read before the event is taken, so that nothing is lost when the caller stops waiting here.
                    let ended = if is_end {
                        Some(self.record_of_job().await?)
                    } else {
                        None
                    };
                    if let Some(record) = self.take_from_page() {
                        return Ok(Some(Seen {
                            record: Arc::new(record),
                            ended,
                        }));
                    }
                }
            }
        }
    }

    /// The next live event; `None` when the source has changed.
    async fn next_live(&mut self) -> Option<Seen> {
        loop {
            match self.live.recv().await {
                Ok(seen) if seen.record.seq < self.next => {}
                Ok(seen) if seen.record.seq == self.next && !is_end_without_job(&seen) => {
                    let record = self.admit((*seen.record).clone())?;
                    return Some(Seen {
                        record: Arc::new(record),
                        ended: seen.ended,
                    });
                }
                // Out of order, too slow, or the last event was told: the store knows.
                Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => {
                    self.source = Source::Page(VecDeque::new());
                    return None;
                }
            }
        }
    }

    async fn read_page(&mut self) -> Result<(), EngineError> {
        let store = Arc::clone(&self.engine.store);
        // Subscribed before the read: what is told after it cannot be missed. A feed without watchers is forgotten,
        // so an old subscription may lead nowhere.
        if self.live.is_closed() {
            self.live = self.engine.feeds.subscribe(self.job);
        }
        let page = store.events(&self.tenant, self.job, self.next, PAGE).await?;
        self.source = if page.is_empty() {
            let job = store.get(&self.tenant, self.job).await?;
            match (job.state.is_terminal(), job.last_seq < self.next) {
                (true, true) => Source::Over,
                // More was written between the two reads.
                (_, false) => Source::Page(VecDeque::new()),
                (false, true) => Source::Live,
            }
        } else {
            Source::Page(page.into())
        };
        Ok(())
    }

    /// Moves on by this event, unless it was seen before.
    fn admit(&mut self, mut record: JobEventRecord) -> Option<JobEventRecord> {
        let mut last = record.seq;
        if let EventBody::Gap { from_seq, to_seq, .. } = &mut record.body {
            *to_seq = (*to_seq).max(record.seq);
            *from_seq = record.seq.max(self.next);
            last = *to_seq;
            record.seq = *from_seq;
        }
        if last < self.next {
            return None;
        }
        self.next = last + 1;
        if matches!(record.body, EventBody::Ended { .. }) {
            self.source = Source::Over;
        }
        Some(record)
    }

    fn take_from_page(&mut self) -> Option<JobEventRecord> {
        let Source::Page(page) = &mut self.source else {
            return None;
        };
        let record = page.pop_front()?;
        self.admit(record)
    }

    async fn record_of_job(&self) -> Result<Arc<Job>, EngineError> {
        Ok(Arc::new(self.engine.store.get(&self.tenant, self.job).await?))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.engine.feeds.leave(self.job);
    }
}

fn is_end_without_job(seen: &Seen) -> bool {
    seen.ended.is_none() && matches!(seen.record.body, EventBody::Ended { .. })
}
