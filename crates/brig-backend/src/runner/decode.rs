//! What comes out of a cell on the runner channel, made into events: one pure, total state machine.
//!
//! The bytes are hostile. Every length is checked against what a runner of ours would send at most, before
//! anything is kept; the first violation ends the decoding for good (`Broken`), and what was understood
//! before it stays.

use super::Compiled;
use super::frame::{COMPILED, EXCEPTION, HEADER_BYTES, STARTED, TROUBLE, VALUE};
use brig_core::outcome::{Exception, Frame};

/// Longest payload that is kept, bytes: a compiled runner, or an exception with every part at its bound.
pub const PAYLOAD_MAX: usize = 384 * 1024;
/// Most bytes that are read from one cell; later ones are ignored.
pub const TOTAL_MAX: usize = 2 * 1024 * 1024;
/// Most frames of a traceback.
pub const FRAMES_MAX: u32 = 64;
/// Longest texts, bytes, as the runner itself cuts them (with room for its mark). Whoever sends more is no runner of
/// ours, and gets its text cut here.
const MESSAGE_MAX: usize = 17 * 1024;
const TRACEBACK_MAX: usize = 65 * 1024;
const NAME_MAX: usize = 1100;
const VALUE_MAX: usize = super::VALUE_MAX as usize + 1024;
/// What a text ends with that was cut here.
const CUT: &str = "… (cut)";

/// One thing that the program's runner told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerEvent {
    /// The interpreter is up and the program starts.
    Started {
        /// The interpreter's bytecode magic.
        magic: [u8; 4],
        /// Whether the runner had to be compiled there.
        from_source: bool,
        /// `3.11.2`.
        version: String,
    },
    /// The answer to a compile-only job.
    Compiled(Compiled),
    /// The last expression's value.
    Value(String),
    /// An uncaught exception.
    Exception {
        /// What it is.
        exception: Exception,
        /// The module whose import raised it, outermost; empty where no import did.
        importing: String,
    },
    /// The runner could not start the program.
    Trouble(String),
}

/// The decoder of one cell's channel.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
    broken: bool,
}

impl Decoder {
    /// A decoder at the start of a channel.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a violation ended the decoding.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Takes the next bytes and returns what they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<RunnerEvent> {
        let mut events = Vec::new();
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > TOTAL_MAX {
            self.give_up();
        }
        if self.broken {
            return events;
        }
        self.buffer.extend_from_slice(bytes);
        let mut rest = self.buffer.as_slice();
        let mut violated = false;
        while let Some((header, body)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let [l0, l1, l2, l3, kind] = *header;
            let Ok(length) = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])) else {
                violated = true;
                break;
            };
            if length > PAYLOAD_MAX {
                violated = true;
                break;
            }
            let Some((payload, after)) = body.split_at_checked(length) else {
                break;
            };
            rest = after;
            match decode(kind, payload) {
                Decoded::Event(event) => events.push(event),
                Decoded::Unknown => {}
                Decoded::Malformed => {
                    violated = true;
                    break;
                }
            }
        }
        let left = rest.len();
        self.buffer.drain(..self.buffer.len() - left);
        if violated {
            self.give_up();
        }
        events
    }

    fn give_up(&mut self) {
        self.broken = true;
        self.buffer = Vec::new();
    }
}

enum Decoded {
    Event(RunnerEvent),
    Unknown,
    Malformed,
}

fn decode(kind: u8, payload: &[u8]) -> Decoded {
    let event = match kind {
        STARTED => started(payload),
        COMPILED => compiled(payload),
        VALUE => value(payload),
        EXCEPTION => exception(payload),
        TROUBLE => Some(RunnerEvent::Trouble(bounded(payload, MESSAGE_MAX))),
        _ => return Decoded::Unknown,
    };
    event.map_or(Decoded::Malformed, Decoded::Event)
}

fn started(payload: &[u8]) -> Option<RunnerEvent> {
    let (magic, rest) = payload.split_first_chunk::<4>()?;
    let (from_source, version) = rest.split_first()?;
    if version.len() > 64 {
        return None;
    }
    Some(RunnerEvent::Started {
        magic: *magic,
        from_source: *from_source != 0,
        version: lossy(version),
    })
}

fn compiled(payload: &[u8]) -> Option<RunnerEvent> {
    let (magic, rest) = payload.split_first_chunk::<4>()?;
    let mut parts = Parts(rest);
    let runner = parts.text()?.to_vec();
    let report = parts.text()?.to_vec();
    Some(RunnerEvent::Compiled(Compiled {
        magic: *magic,
        runner,
        report,
    }))
}

fn value(payload: &[u8]) -> Option<RunnerEvent> {
    let (shortened, text) = payload.split_first()?;
    let mut text = bounded(text, VALUE_MAX);
    if *shortened != 0 && !text.ends_with("...") {
        text.push_str(" ...");
    }
    Some(RunnerEvent::Value(text))
}

fn exception(payload: &[u8]) -> Option<RunnerEvent> {
    let mut parts = Parts(payload);
    let importing = bounded(parts.text()?, NAME_MAX);
    let name = bounded(parts.text()?, NAME_MAX);
    let message = bounded(parts.text()?, MESSAGE_MAX);
    let traceback = bounded(parts.text()?, TRACEBACK_MAX);
    let count = parts.number()?;
    if count > FRAMES_MAX {
        return None;
    }
    let mut frames = Vec::new();
    for _ in 0..count {
        frames.push(Frame {
            line: parts.number()?,
            file: bounded(parts.text()?, NAME_MAX),
            function: bounded(parts.text()?, NAME_MAX),
        });
    }
    let exception = Exception {
        name,
        message,
        frames,
        traceback,
    };
    Some(RunnerEvent::Exception { exception, importing })
}

/// A payload being taken apart; every step is checked.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }
}

/// The text, of at most `most` bytes (a replaced byte counts as what it becomes) and the mark of a cut.
fn bounded(bytes: &[u8], most: usize) -> String {
    let mut text = lossy(bytes.get(..most).unwrap_or(bytes));
    if bytes.len() > most || text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push_str(CUT);
    }
    text
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [length.as_slice(), &[kind], payload].concat()
    }

    fn text(bytes: &[u8]) -> Vec<u8> {
        [
            u32::try_from(bytes.len()).unwrap().to_le_bytes().as_slice(),
            bytes,
        ]
        .concat()
    }

    fn exception_frame() -> Vec<u8> {
        let place = [7u32.to_le_bytes().to_vec(), text(b"/workspace/a.py"), text(b"f")].concat();
        let head = [text(b""), text(b"ValueError"), text(b"no"), text(b"Traceback")].concat();
        raw(EXCEPTION, &[head, 1u32.to_le_bytes().to_vec(), place].concat())
    }

    #[test]
    fn an_exception_is_told_with_its_frames() {
        let events = Decoder::new().push(&exception_frame());
        let frames = vec![Frame {
            file: "/workspace/a.py".into(),
            line: 7,
            function: "f".into(),
        }];
        let exception = Exception {
            name: "ValueError".into(),
            message: "no".into(),
            frames,
            traceback: "Traceback".into(),
        };
        let importing = String::new();
        assert_eq!(events, [RunnerEvent::Exception { exception, importing }]);
    }

    #[test]
    fn texts_longer_than_a_runner_of_ours_sends_are_cut_and_marked() {
        let liar = vec![0xff; PAYLOAD_MAX / 2];
        let told = Decoder::new().push(&raw(VALUE, &[b"\0", liar.as_slice()].concat()));
        let [RunnerEvent::Value(value)] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert!(value.len() <= VALUE_MAX + CUT.len() && value.ends_with(CUT));
        let place = [7u32.to_le_bytes().to_vec(), text(&liar[..5_000]), text(b"f")].concat();
        let head = [
            text(&liar[..5_000]),
            text(&liar[..5_000]),
            text(&liar[..90_000]),
            text(&liar[..90_000]),
        ]
        .concat();
        let told = Decoder::new().push(&raw(
            EXCEPTION,
            &[head, 1u32.to_le_bytes().to_vec(), place].concat(),
        ));
        let [RunnerEvent::Exception { exception, importing }] = told.as_slice() else {
            panic!("{told:?}")
        };
        let texts = [
            importing,
            &exception.name,
            &exception.message,
            &exception.traceback,
            &exception.frames[0].file,
        ];
        for (text, most) in texts
            .into_iter()
            .zip([NAME_MAX, NAME_MAX, MESSAGE_MAX, TRACEBACK_MAX, NAME_MAX])
        {
            assert!(
                text.len() <= most + CUT.len() && text.ends_with(CUT),
                "{}",
                text.len()
            );
        }
    }

    #[test]
    fn a_length_beyond_the_limit_ends_the_decoding_at_once() {
        let mut decoder = Decoder::new();
        assert_eq!(
            decoder.push(&raw(VALUE, b"\x0042")),
            [RunnerEvent::Value("42".into())]
        );
        assert_eq!(decoder.push(&[0xff, 0xff, 0xff, 0x7f, VALUE]), []);
        assert!(decoder.is_broken());
        assert_eq!(decoder.push(&raw(VALUE, b"\x0043")), []);
    }

    #[test]
    fn an_endless_stream_of_unknown_frames_is_not_kept() {
        let mut decoder = Decoder::new();
        let chunk = raw(0xf0, &[0; 1000]);
        for _ in 0..5_000 {
            assert_eq!(decoder.push(&chunk), []);
            assert!(decoder.buffer.capacity() < 8 * 1024);
        }
        assert!(decoder.is_broken());
    }

    #[test]
    fn a_frame_that_promises_more_frames_than_it_has_is_malformed() {
        let mut decoder = Decoder::new();
        let head = [
            text(b""),
            text(b"E"),
            text(b""),
            text(b""),
            9u32.to_le_bytes().to_vec(),
        ]
        .concat();
        assert_eq!(decoder.push(&raw(EXCEPTION, &head)), []);
        assert!(decoder.is_broken());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut decoder = Decoder::new();
            let _events = decoder.push(&bytes);
        }

        #[test]
        fn a_damaged_frame_is_survived(at in 0usize..64, byte in any::<u8>()) {
            let mut bytes = exception_frame();
            let index = at % bytes.len();
            bytes[index] = byte;
            let mut decoder = Decoder::new();
            let _events = decoder.push(&bytes);
        }

        #[test]
        fn the_cut_into_pieces_does_not_matter(
            values in proptest::collection::vec("[a-z]{0,40}", 0..8),
            cuts in proptest::collection::vec(1usize..40, 1..40),
        ) {
            let frames = values.iter().map(|v| raw(VALUE, &[b"\0", v.as_bytes()].concat()));
            let bytes: Vec<u8> = frames.flatten().chain(exception_frame()).collect();
            let whole = Decoder::new().push(&bytes);
            let mut decoder = Decoder::new();
            let (mut rest, mut pieces) = (bytes.as_slice(), Vec::new());
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                pieces.extend(decoder.push(piece));
                rest = after;
            }
            prop_assert_eq!(whole.len(), values.len() + 1);
            prop_assert_eq!(whole, pieces);
        }
    }
}
