//! Watching one job: its output goes through as it comes, or is kept for the one object of `--json`.

use crate::quantity::human_bytes;
use crate::report::KeptOutput;
use crate::terminal::{say, visible};
use brig_api::convert::event::{Body, Event};
use brig_api::convert::record::JobRecord;
use brig_core::event::StreamName;
use brig_core::id::JobId;
use brig_core::receipt::{LayerState, Receipt};
use std::io::{self, Write};

/// What to do with output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputTo {
    /// To stdout and stderr, as it comes.
    Terminal,
    /// Into memory.
    Memory,
}

/// Whether to say which layers are missing when the job starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LevelNote {
    /// The user did not choose the level: say what it is worth.
    Say,
    /// The operator of the daemon chose.
    Quiet,
}

/// Most bytes that are kept of one stream while the job runs. A live stream can bring more than the job's record
/// keeps; past this, what was kept is fetched again at the end.
const MEMORY_MAX: usize = 32 * 1024 * 1024;

/// A job being watched.
#[derive(Debug)]
pub(crate) struct Follower {
    to: OutputTo,
    note: LevelNote,
    /// Its id, once known.
    pub(crate) id: Option<JobId>,
    /// Kept output.
    pub(crate) output: KeptOutput,
    /// Some output did not fit into memory.
    pub(crate) overflowed: bool,
    /// Bytes received of stdout and stderr.
    pub(crate) received: [u64; 2],
}

impl Follower {
    pub(crate) fn new(to: OutputTo, note: LevelNote) -> Self {
        Self {
            to,
            note,
            id: None,
            output: KeptOutput::default(),
            overflowed: false,
            received: [0; 2],
        }
    }

    /// Takes one event; gives the record when it was the last.
    pub(crate) fn take(&mut self, event: Event) -> io::Result<Option<JobRecord>> {
        self.id = Some(event.job);
        match event.body {
            Body::Queued | Body::Cancelling => {}
            Body::Started { receipt } => self.started(&receipt),
            Body::Output { stream, data } => self.output(stream, &data)?,
            Body::Gap { bytes, .. } => self.gap(bytes),
            Body::Requeued { reason } => {
                say(format!(
                    "the attempt was lost ({}); the job waits again",
                    visible(&reason)
                ));
            }
            Body::Ended(record) => return Ok(Some(*record)),
        }
        Ok(None)
    }

    fn started(&self, receipt: &Receipt) {
        // What an engine gives does not depend on the level, and `brig doctor` cannot add a layer to its containers.
        let of_the_jail = receipt.backend == "jail";
        if self.note == LevelNote::Say && of_the_jail && receipt.level == "workstation" {
            say(level_note(receipt));
        }
    }

    fn output(&mut self, stream: StreamName, bytes: &[u8]) -> io::Result<()> {
        let (index, kept) = match stream {
            StreamName::Stdout => (0, &mut self.output.stdout),
            StreamName::Stderr => (1, &mut self.output.stderr),
        };
        self.received[index] += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match (self.to, stream) {
            (OutputTo::Memory, _) if kept.len() + bytes.len() > MEMORY_MAX => self.overflowed = true,
            (OutputTo::Memory, _) => kept.extend_from_slice(bytes),
            (OutputTo::Terminal, StreamName::Stdout) => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()?;
            }
            (OutputTo::Terminal, StreamName::Stderr) => io::stderr().lock().write_all(bytes)?,
        }
        Ok(())
    }

    fn gap(&mut self, bytes: u64) {
        match self.to {
            OutputTo::Terminal => say(format!("{} of output were not kept here", human_bytes(bytes))),
            OutputTo::Memory => self.output.mark_gap(),
        }
    }
}

/// One line on what the level `workstation` is worth here.
fn level_note(receipt: &Receipt) -> String {
    let weak: Vec<&str> = receipt
        .layers
        .iter()
        .filter(|layer| layer.state == LayerState::Missing)
        .map(|layer| layer.name.as_str())
        .collect();
    if weak.is_empty() {
        "isolation level workstation; every layer is active here".to_owned()
    } else {
        format!(
            "isolation level workstation; missing here: {} (`brig doctor` says how to get it)",
            weak.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brig_core::receipt::Layer;

    fn receipt(layers: &[(&str, LayerState)]) -> Receipt {
        let layers = layers.iter().map(|(name, state)| Layer {
            name: (*name).to_owned(),
            state: *state,
            detail: String::new(),
        });
        Receipt {
            backend: "jail".into(),
            level: "workstation".into(),
            image: "host".into(),
            cell: "on_demand".into(),
            layers: layers.collect(),
        }
    }

    #[test]
    fn the_weaker_level_says_what_is_missing() {
        let bare = receipt(&[
            ("cgroup", LayerState::Missing),
            ("uid", LayerState::Missing),
            ("seccomp", LayerState::Active),
        ]);
        assert_eq!(
            level_note(&bare),
            "isolation level workstation; missing here: cgroup, uid (`brig doctor` says how to get it)"
        );
        assert!(level_note(&receipt(&[("cgroup", LayerState::Active)])).contains("every layer"));
    }

    #[test]
    fn kept_output_stays_in_its_stream() {
        let mut follower = Follower::new(OutputTo::Memory, LevelNote::Quiet);
        let pieces = [
            (StreamName::Stdout, "a"),
            (StreamName::Stderr, "b"),
            (StreamName::Stdout, "c"),
        ];
        for (seq, (stream, text)) in (1..).zip(pieces) {
            let body = Body::Output {
                stream,
                data: text.as_bytes().to_vec(),
            };
            let time = brig_core::time::Timestamp::from_millis(0);
            let event = Event {
                job: JobId::from_bytes([1; 16]),
                seq,
                attempt: 1,
                time,
                body,
            };
            assert_eq!(follower.take(event).unwrap(), None);
        }
        assert_eq!(
            (
                follower.output.stdout.as_slice(),
                follower.output.stderr.as_slice()
            ),
            (&b"ac"[..], &b"b"[..])
        );
        assert_eq!(follower.received, [2, 1]);
    }
}
