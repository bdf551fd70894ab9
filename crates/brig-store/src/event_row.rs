//! Events as the database keeps them: a kind word and bytes. Output is kept raw, everything else
//! that has content as JSON.

use brig_core::event::{EventBody, JobEventRecord, StreamName};
use brig_core::spec::Blob;
use brig_core::{JobId, Timestamp};
use std::fmt::Write as _;

/// Events of one transaction, in the form that the SQL files take: one list `[[kind, offset from 1, length], …]`
/// and the bytes of all bodies, so that any number of events is one message to the database.
#[derive(Debug)]
pub(crate) struct EventBatch {
    list: String,
    bodies: Vec<u8>,
    events: Vec<EventBody>,
}

impl EventBatch {
    /// Lays out `events`.
    pub(crate) fn new(events: Vec<EventBody>) -> Result<Self, serde_json::Error> {
        let mut list = String::from("[");
        let mut bodies = Vec::new();
        for event in &events {
            let start = bodies.len();
            match event {
                EventBody::Output { data, .. } => bodies.extend_from_slice(&data.0),
                EventBody::Queued => {}
                EventBody::Started { .. }
                | EventBody::Requeued { .. }
                | EventBody::Cancelling
                | EventBody::Ended { .. }
                | EventBody::Gap { .. } => serde_json::to_writer(&mut bodies, event)?,
            }
            let comma = if list.len() > 1 { "," } else { "" };
            let (offset, length) = (start + 1, bodies.len() - start);
            // Writing to a string cannot fail.
            write!(list, r#"{comma}["{}",{offset},{length}]"#, kind(event)).unwrap_or_default();
        }
        list.push(']');
        Ok(Self { list, bodies, events })
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The list and the bodies, to be bound: they are needed once and may be large.
    pub(crate) fn take_arguments(&mut self) -> (String, Vec<u8>) {
        (std::mem::take(&mut self.list), std::mem::take(&mut self.bodies))
    }

    /// The events with the numbers that they were given: the last one has `last_seq`.
    pub(crate) fn numbered(
        self,
        job: JobId,
        attempt: u32,
        time: Timestamp,
        last_seq: u64,
    ) -> Vec<JobEventRecord> {
        let count = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        let first = last_seq.saturating_sub(count) + 1;
        let number = |(seq, body)| JobEventRecord {
            job,
            seq,
            attempt,
            time,
            body,
        };
        (first..).zip(self.events).map(number).collect()
    }
}

/// The word of an event in the database.
pub(crate) fn kind(event: &EventBody) -> &'static str {
    match event {
        EventBody::Queued => "queued",
        EventBody::Started { .. } => "started",
        EventBody::Output {
            stream: StreamName::Stdout,
            ..
        } => "stdout",
        EventBody::Output {
            stream: StreamName::Stderr,
            ..
        } => "stderr",
        EventBody::Requeued { .. } => "requeued",
        EventBody::Cancelling => "cancelling",
        EventBody::Ended { .. } => "ended",
        EventBody::Gap { .. } => "gap",
    }
}

/// The event back from its kind and bytes.
pub(crate) fn decode(kind: &str, body: Vec<u8>) -> Result<EventBody, serde_json::Error> {
    let output = |stream, body| EventBody::Output {
        stream,
        data: Blob(body),
    };
    match kind {
        "queued" => Ok(EventBody::Queued),
        "stdout" => Ok(output(StreamName::Stdout, body)),
        "stderr" => Ok(output(StreamName::Stderr, body)),
        _ => serde_json::from_slice(&body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back_as_it_was() {
        let events = vec![
            EventBody::Queued,
            EventBody::Output {
                stream: StreamName::Stderr,
                data: Blob(vec![0, 255, 10]),
            },
            EventBody::Output {
                stream: StreamName::Stdout,
                data: Blob(vec![]),
            },
            EventBody::Requeued {
                reason: "quotes \" and é".into(),
            },
        ];
        let (list, bodies) = EventBatch::new(events.clone()).unwrap().take_arguments();
        let list: Vec<(String, usize, usize)> = serde_json::from_str(&list).unwrap();
        let back: Vec<EventBody> = list
            .into_iter()
            .map(|(kind, offset, length)| {
                decode(&kind, bodies[offset - 1..offset - 1 + length].to_vec()).unwrap()
            })
            .collect();
        assert_eq!(back, events);
    }

    #[test]
    fn the_last_event_has_the_last_number() {
        let batch = EventBatch::new(vec![EventBody::Queued, EventBody::Cancelling]).unwrap();
        let records = batch.numbered(JobId::generate(), 1, Timestamp::from_millis(5), 9);
        assert_eq!(records.iter().map(|r| r.seq).collect::<Vec<_>>(), [8, 9]);
    }
}
