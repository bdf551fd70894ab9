//! Events: what the store wrote becomes what a watcher sees.

use super::field::{At, InvalidFields, id, known, required, unspecified};
use super::record::JobRecord;
use super::time::{timestamp, timestamp_to_wire};
use crate::pb;
use brig_core::event::{EventBody, GapReason, JobEventRecord, StreamName};
use brig_core::id::JobId;
use brig_core::receipt::Receipt;
use brig_core::spec::Blob;
use brig_core::store::Job;
use brig_core::time::Timestamp;

/// One event as a watcher sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Of which job.
    pub job: JobId,
    /// Number within the job, from 1. A gap has the number of its first missing event.
    pub seq: u64,
    /// Which attempt wrote it; 0 before the first.
    pub attempt: u32,
    /// When, by the store's clock.
    pub time: Timestamp,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// Accepted and queued.
    Queued,
    /// An attempt got a cell and starts.
    Started {
        /// What isolates it.
        receipt: Receipt,
    },
    /// The program wrote something.
    Output {
        /// Where.
        stream: StreamName,
        /// What.
        data: Vec<u8>,
    },
    /// An attempt was lost and the job waits again.
    Requeued {
        /// Why.
        reason: String,
    },
    /// Cancellation was asked for.
    Cancelling,
    /// The job ended: its whole record. Always the last event.
    Ended(Box<JobRecord>),
    /// Events that are not there any more.
    Gap {
        /// First missing number.
        from_seq: u64,
        /// Last missing number.
        to_seq: u64,
        /// Output bytes among them.
        bytes: u64,
        /// Why.
        reason: GapReason,
    },
}

impl std::fmt::Debug for Body {
    /// Output as its length: what programs write does not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Queued => f.write_str("Queued"),
            Self::Started { receipt } => write!(f, "Started({receipt:?})"),
            Self::Output { stream, data } => write!(f, "Output({stream:?}, {} bytes)", data.len()),
            Self::Requeued { reason } => write!(f, "Requeued({reason})"),
            Self::Cancelling => f.write_str("Cancelling"),
            Self::Ended(record) => write!(f, "Ended({record:?})"),
            Self::Gap {
                from_seq,
                to_seq,
                bytes,
                reason,
            } => {
                write!(f, "Gap({from_seq}..={to_seq}, {bytes} bytes, {reason:?})")
            }
        }
    }
}

impl Event {
    /// Number of the event that comes after this one.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        let last = match self.body {
            Body::Gap { to_seq, .. } => to_seq.max(self.seq),
            Body::Queued
            | Body::Started { .. }
            | Body::Output { .. }
            | Body::Requeued { .. }
            | Body::Cancelling
            | Body::Ended(_) => self.seq,
        };
        last.saturating_add(1)
    }
}

/// A stored event on its way to a watcher.
#[derive(Debug)]
pub enum Encoding {
    /// Ready to be sent.
    Complete(pb::JobEvent),
    /// The terminal event, which carries the job's record: read the job and call [`EndedEvent::with`].
    NeedsJob(EndedEvent),
}

/// A terminal event that lacks its record.
#[derive(Debug)]
pub struct EndedEvent {
    job: JobId,
    seq: u64,
    attempt: u32,
    time: Timestamp,
}

impl EndedEvent {
    /// Whose record is needed.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The event with the record of `job`.
    #[must_use]
    pub fn with(self, job: &Job) -> pb::JobEvent {
        let Self {
            job: id,
            seq,
            attempt,
            time,
        } = self;
        let body = Body::Ended(Box::new(JobRecord::full(job)));
        pb::JobEvent::from(Event {
            job: id,
            seq,
            attempt,
            time,
            body,
        })
    }
}

/// Prepares a stored event for the wire.
#[must_use]
pub fn encode(record: JobEventRecord) -> Encoding {
    let JobEventRecord {
        job,
        seq,
        attempt,
        time,
        body,
    } = record;
    let body = match body {
        EventBody::Queued => Body::Queued,
        EventBody::Started { receipt } => Body::Started { receipt },
        EventBody::Output {
            stream,
            data: Blob(data),
        } => Body::Output { stream, data },
        EventBody::Requeued { reason } => Body::Requeued { reason },
        EventBody::Cancelling => Body::Cancelling,
        // State and kind are in the record.
        EventBody::Ended { state: _, kind: _ } => {
            return Encoding::NeedsJob(EndedEvent {
                job,
                seq,
                attempt,
                time,
            });
        }
        EventBody::Gap {
            from_seq,
            to_seq,
            bytes,
            reason,
        } => Body::Gap {
            from_seq,
            to_seq,
            bytes,
            reason,
        },
    };
    Encoding::Complete(pb::JobEvent::from(Event {
        job,
        seq,
        attempt,
        time,
        body,
    }))
}

impl From<Event> for pb::JobEvent {
    fn from(event: Event) -> Self {
        use pb::job_event::Body as Wire;
        let Event {
            job,
            seq,
            attempt,
            time,
            body,
        } = event;
        let body = match body {
            Body::Queued => Wire::Queued(pb::job_event::Queued {}),
            Body::Started { receipt } => Wire::Started(pb::job_event::Started {
                receipt: Some(pb::Receipt::from(&receipt)),
            }),
            Body::Output { stream, data } => Wire::Output(pb::job_event::Output {
                stream: stream_to_wire(stream).into(),
                data,
            }),
            Body::Requeued { reason } => Wire::Requeued(pb::job_event::Requeued { reason }),
            Body::Cancelling => Wire::Cancelling(pb::job_event::Cancelling {}),
            Body::Ended(record) => Wire::Ended(pb::job_event::Ended {
                job: Some(Box::new(pb::Job::from(record.as_ref()))),
            }),
            Body::Gap {
                from_seq,
                to_seq,
                bytes,
                reason,
            } => Wire::Gap(pb::job_event::Gap {
                from_seq,
                to_seq,
                dropped_bytes: bytes,
                reason: gap_to_wire(reason).into(),
            }),
        };
        let time = Some(timestamp_to_wire(time));
        Self {
            job_id: job.to_string(),
            seq,
            attempt,
            time,
            body: Some(body),
        }
    }
}

impl TryFrom<pb::JobEvent> for Event {
    type Error = InvalidFields;

    fn try_from(wire: pb::JobEvent) -> Result<Self, InvalidFields> {
        let pb::JobEvent {
            job_id,
            seq,
            attempt,
            time,
            body,
        } = wire;
        Ok(Self {
            job: id(&job_id).at("job_id")?,
            seq,
            attempt,
            time: required(time).and_then(timestamp).at("time")?,
            body: required(body).at("body").and_then(body_from_wire)?,
        })
    }
}

fn body_from_wire(wire: pb::job_event::Body) -> Result<Body, InvalidFields> {
    use pb::job_event::Body as Wire;
    Ok(match wire {
        Wire::Queued(pb::job_event::Queued {}) => Body::Queued,
        Wire::Started(pb::job_event::Started { receipt }) => Body::Started {
            receipt: required(receipt)
                .and_then(Receipt::try_from)
                .at("started.receipt")?,
        },
        Wire::Output(pb::job_event::Output { stream, data }) => Body::Output {
            stream: stream_name(stream).at("output.stream")?,
            data,
        },
        Wire::Requeued(pb::job_event::Requeued { reason }) => Body::Requeued { reason },
        Wire::Cancelling(pb::job_event::Cancelling {}) => Body::Cancelling,
        Wire::Ended(pb::job_event::Ended { job }) => Body::Ended(Box::new(
            required(job)
                .and_then(|job| JobRecord::try_from(*job))
                .at("ended.job")?,
        )),
        Wire::Gap(pb::job_event::Gap {
            from_seq,
            to_seq,
            dropped_bytes,
            reason,
        }) => Body::Gap {
            from_seq,
            to_seq,
            bytes: dropped_bytes,
            reason: gap_reason(reason).at("gap.reason")?,
        },
    })
}

fn stream_to_wire(stream: StreamName) -> pb::OutputStream {
    match stream {
        StreamName::Stdout => pb::OutputStream::Stdout,
        StreamName::Stderr => pb::OutputStream::Stderr,
    }
}

fn stream_name(number: i32) -> Result<StreamName, InvalidFields> {
    match known(number)? {
        pb::OutputStream::Unspecified => unspecified(),
        pb::OutputStream::Stdout => Ok(StreamName::Stdout),
        pb::OutputStream::Stderr => Ok(StreamName::Stderr),
    }
}

fn gap_to_wire(reason: GapReason) -> pb::GapReason {
    match reason {
        GapReason::OutputKept => pb::GapReason::OutputKept,
        GapReason::SlowWatcher => pb::GapReason::SlowWatcher,
        GapReason::Expired => pb::GapReason::Expired,
    }
}

fn gap_reason(number: i32) -> Result<GapReason, InvalidFields> {
    match known(number)? {
        pb::GapReason::Unspecified => unspecified(),
        pb::GapReason::OutputKept => Ok(GapReason::OutputKept),
        pb::GapReason::SlowWatcher => Ok(GapReason::SlowWatcher),
        pb::GapReason::Expired => Ok(GapReason::Expired),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_event_survives_the_wire(event in samples::event()) {
            prop_assert_eq!(Event::try_from(pb::JobEvent::from(event.clone())), Ok(event));
        }

        #[test]
        fn a_stored_event_reaches_the_watcher(record in samples::event_record(), job in samples::job()) {
            let wire = match encode(record.clone()) {
                Encoding::Complete(wire) => wire,
                Encoding::NeedsJob(ended) => {
                    prop_assert_eq!(ended.job(), record.job);
                    ended.with(&job)
                }
            };
            let event = Event::try_from(wire).unwrap();
            prop_assert_eq!((event.job, event.seq, event.attempt, event.time), (record.job, record.seq, record.attempt, record.time));
            let body = match event.body {
                Body::Queued => EventBody::Queued,
                Body::Started { receipt } => EventBody::Started { receipt },
                Body::Output { stream, data } => EventBody::Output { stream, data: Blob(data) },
                Body::Requeued { reason } => EventBody::Requeued { reason },
                Body::Cancelling => EventBody::Cancelling,
                Body::Ended(ended) => {
                    prop_assert_eq!(*ended, JobRecord::full(&job));
                    record.body.clone()
                }
                Body::Gap { from_seq, to_seq, bytes, reason } => EventBody::Gap { from_seq, to_seq, bytes, reason },
            };
            prop_assert_eq!(body, record.body);
        }
    }

    #[test]
    fn an_event_without_a_body_is_refused() {
        let event = Event {
            job: JobId::generate(),
            seq: 1,
            attempt: 0,
            time: Timestamp::from_millis(0),
            body: Body::Queued,
        };
        let wire = pb::JobEvent {
            body: None,
            ..pb::JobEvent::from(event)
        };
        assert_eq!(
            Event::try_from(wire),
            Err(InvalidFields::one("body", "is required"))
        );
    }
}
