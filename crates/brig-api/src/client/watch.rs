//! A stream of events that goes on where it broke.
//!
//! The store numbers the events of a job without holes. So the stream knows which number comes next: what came
//! before is a duplicate and dropped, what is missing is told as a gap, and after a break it asks for the rest.

use super::BrigClient;
use super::retry::{Backoff, Repeat};
use crate::convert::event::{Body, Event};
use crate::convert::request::{ExecuteCall, WatchCall};
use crate::pb;
use crate::status::ApiError;
use brig_core::event::GapReason;
use brig_core::id::JobId;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

type Live = BoxStream<'static, Result<pb::JobEvent, Status>>;

/// The events of one job, up to its whole record. Dropping it is going away.
pub struct EventStream {
    client: BrigClient,
    source: Source,
    next_seq: u64,
    live: Option<Live>,
    /// Comes after a gap that was noticed here.
    waiting: Option<Event>,
    backoff: Backoff,
    deadline: Option<Instant>,
    phase: Phase,
}

/// What opens the stream again.
enum Source {
    /// The request, until the first event tells the job.
    Execute(Box<pb::ExecuteRequest>),
    /// The job.
    Watch(JobId),
}

#[derive(PartialEq, Eq)]
enum Phase {
    Following,
    Over,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream")
            .field("job", &self.job())
            .field("next_seq", &self.next_seq)
            .finish()
    }
}

impl EventStream {
    pub(super) async fn execute(
        client: BrigClient,
        call: &ExecuteCall,
        deadline: Option<Duration>,
    ) -> Result<Self, ApiError> {
        let repeat = if call.idempotency_key.is_some() {
            Repeat::Safe
        } else {
            Repeat::Unsafe
        };
        let source = Source::Execute(Box::new(pb::ExecuteRequest::from(call)));
        let backoff = Backoff::new(client.retry, repeat);
        let deadline = deadline.and_then(|span| Instant::now().checked_add(span));
        let stream = Self {
            client,
            source,
            next_seq: 1,
            live: None,
            waiting: None,
            backoff,
            deadline,
            phase: Phase::Following,
        };
        stream.opened().await
    }

    pub(super) async fn watch(client: BrigClient, call: WatchCall) -> Result<Self, ApiError> {
        let backoff = Backoff::new(client.retry, Repeat::Safe);
        let stream = Self {
            client,
            source: Source::Watch(call.job),
            next_seq: call.from_seq,
            live: None,
            waiting: None,
            backoff,
            deadline: None,
            phase: Phase::Following,
        };
        stream.opened().await
    }

    /// The job, once its first event has come.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        match &self.source {
            Source::Execute(_) => None,
            Source::Watch(job) => Some(*job),
        }
    }

    /// The next event. `None` after [`Body::Ended`] or an error. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Result<Event, ApiError>> {
        if self.phase == Phase::Over {
            return None;
        }
        let result = before(self.deadline, self.step()).await;
        let over = match &result {
            Ok(event) => matches!(event.body, Body::Ended(_)),
            Err(_) => true,
        };
        if over {
            self.phase = Phase::Over;
            self.live = None;
        }
        Some(result)
    }

    /// The same as a `Stream`.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, ApiError>> + Send {
        stream::unfold(self, |mut events| async move {
            events.next().await.map(|event| (event, events))
        })
    }

    /// Opens it for the first time, so that a refusal is told by the call itself.
    async fn opened(mut self) -> Result<Self, ApiError> {
        let deadline = self.deadline;
        let opening = async {
            while self.live.is_none() {
                self.open_or_pause().await?;
            }
            Ok(())
        };
        before(deadline, opening).await?;
        Ok(self)
    }

    async fn step(&mut self) -> Result<Event, ApiError> {
        if let Some(event) = self.waiting.take() {
            return Ok(event);
        }
        loop {
            let Some(live) = &mut self.live else {
                self.open_or_pause().await?;
                continue;
            };
            let broken = match live.next().await {
                Some(Ok(event)) => match self.admit(Event::try_from(event)?)? {
                    Some(event) => return Ok(event),
                    None => continue,
                },
                Some(Err(status)) => ApiError::from(status),
                None => ApiError::Broken,
            };
            self.live = None;
            self.backoff.pause(broken).await?;
        }
    }

    async fn open_or_pause(&mut self) -> Result<(), ApiError> {
        // This only waits for the head of the answer: a job may run for as long as it may.
        let opening = open(&self.client, &self.source, self.next_seq);
        match tokio::time::timeout(self.client.deadline, opening).await {
            Ok(Ok(live)) => {
                self.live = Some(live);
                Ok(())
            }
            Ok(Err(status)) => self.backoff.pause(ApiError::from(status)).await,
            Err(_elapsed) => self.backoff.pause(ApiError::Deadline).await,
        }
    }

    /// Takes an event in its place: drops a duplicate, tells what is missing before it.
    fn admit(&mut self, event: Event) -> Result<Option<Event>, ApiError> {
        match self.source {
            Source::Watch(job) if job != event.job => {
                return Err(crate::InvalidFields::one("event.job_id", "is of another job").into());
            }
            Source::Watch(_) => {}
            // From here on a break is mended by watching, which is always safe.
            Source::Execute(_) => self.source = Source::Watch(event.job),
        }
        let expected = self.next_seq;
        if event.next_seq() <= expected {
            return Ok(None);
        }
        self.next_seq = event.next_seq();
        // Only what is new is progress: a daemon that breaks after the same event again and again wears patience out.
        self.backoff.reset(Repeat::Safe);
        if event.seq > expected {
            let missing = hole(&event, expected);
            self.waiting = Some(event);
            return Ok(Some(missing));
        }
        Ok(Some(without_seen(event, expected)))
    }
}

async fn open(client: &BrigClient, source: &Source, from_seq: u64) -> Result<Live, Status> {
    let mut client = client.executions();
    match source {
        Source::Execute(request) => {
            let events = client.execute(request.as_ref().clone()).await?.into_inner();
            Ok(events
                .map(|message| message.and_then(|message| event_in(message.event)))
                .boxed())
        }
        Source::Watch(job) => {
            let call = WatchCall { job: *job, from_seq };
            let events = client.watch(pb::WatchRequest::from(&call)).await?.into_inner();
            Ok(events
                .map(|message| message.and_then(|message| event_in(message.event)))
                .boxed())
        }
    }
}

async fn before<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    match deadline {
        None => work.await,
        Some(deadline) => tokio::time::timeout_at(deadline, work)
            .await
            .unwrap_or(Err(ApiError::Deadline)),
    }
}

fn event_in(event: Option<pb::JobEvent>) -> Result<pb::JobEvent, Status> {
    event.ok_or_else(|| Status::internal("a message of the stream has no event"))
}

/// Stands for events that did not come before `event`. The store had dropped them, and with them how much it was.
fn hole(event: &Event, expected: u64) -> Event {
    let to_seq = event.seq.saturating_sub(1);
    let body = Body::Gap {
        from_seq: expected,
        to_seq,
        bytes: 0,
        reason: GapReason::SlowWatcher,
    };
    Event {
        job: event.job,
        seq: expected,
        attempt: event.attempt,
        time: event.time,
        body,
    }
}

/// A gap that begins with events which were seen before they were dropped now begins after them.
fn without_seen(event: Event, expected: u64) -> Event {
    let Event {
        job,
        seq,
        attempt,
        time,
        body,
    } = event;
    let (seq, body) = match body {
        Body::Gap {
            from_seq,
            to_seq,
            bytes,
            reason,
        } => (
            seq.max(expected),
            Body::Gap {
                from_seq: from_seq.max(expected),
                to_seq,
                bytes,
                reason,
            },
        ),
        body @ (Body::Queued
        | Body::Started { .. }
        | Body::Output { .. }
        | Body::Requeued { .. }
        | Body::Cancelling
        | Body::Ended(_)) => (seq, body),
    };
    Event {
        job,
        seq,
        attempt,
        time,
        body,
    }
}
