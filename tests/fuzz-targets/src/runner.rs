//! The runner channel: what a cell says, hostile to the last byte.

use brig_backend::runner::decode::{Decoder, FRAMES_MAX, PAYLOAD_MAX, RunnerEvent};
use brig_backend::runner::frame::HEADER_BYTES;
use brig_core::outcome::Frame;

/// Up to three bytes that say where the stream is cut, then the stream.
pub fn target(data: &[u8]) {
    let (cuts, stream) = data.split_at(data.len().min(3));
    let mut whole = Decoder::new();
    let events = whole.push(stream);
    let mut cut = Decoder::new();
    let in_pieces: Vec<RunnerEvent> = crate::pieces(stream, cuts)
        .into_iter()
        .flat_map(|piece| cut.push(piece))
        .collect();
    assert_eq!(events, in_pieces, "the cut into pieces matters");
    assert_eq!(whole.is_broken(), cut.is_broken(), "the cut into pieces matters");

    assert!(
        events.len() <= stream.len() / HEADER_BYTES,
        "more events than frames"
    );
    // Each byte that is not UTF-8 becomes three; a shortened value gets four more.
    let kept: usize = events.iter().map(bytes_of).sum();
    assert!(
        kept <= 3 * stream.len() + 4 * events.len(),
        "{kept} bytes are kept"
    );
    for event in &events {
        same_again(event);
    }
    if whole.is_broken() {
        assert_eq!(whole.push(&frame(0x83, b"\0more")), [], "broken and goes on");
    }
}

fn bytes_of(event: &RunnerEvent) -> usize {
    match event {
        RunnerEvent::Started { version, .. } => version.len(),
        RunnerEvent::Compiled(compiled) => compiled.runner.len() + compiled.report.len(),
        RunnerEvent::Value(text) | RunnerEvent::Trouble(text) => text.len(),
        RunnerEvent::Exception { exception, importing } => {
            let frames = exception.frames.iter();
            assert!(exception.frames.len() <= FRAMES_MAX as usize, "too many frames");
            let frames: usize = frames.map(|frame| frame.file.len() + frame.function.len()).sum();
            let texts = exception.name.len() + exception.message.len() + exception.traceback.len();
            frames + texts + importing.len()
        }
    }
}

/// What was understood, said again by an honest runner, is understood as the same.
fn same_again(event: &RunnerEvent) {
    let (kind, payload) = match event {
        RunnerEvent::Started {
            magic,
            from_source,
            version,
        } => (
            0x81,
            [magic.as_slice(), &[u8::from(*from_source)], version.as_bytes()].concat(),
        ),
        RunnerEvent::Compiled(compiled) => (
            0x82,
            [
                compiled.magic.as_slice(),
                &text(&compiled.runner),
                &text(&compiled.report),
            ]
            .concat(),
        ),
        RunnerEvent::Value(value) => (0x83, [b"\0", value.as_bytes()].concat()),
        RunnerEvent::Exception { exception, importing } => {
            let texts = [
                importing,
                &exception.name,
                &exception.message,
                &exception.traceback,
            ];
            let mut payload: Vec<u8> = texts.into_iter().flat_map(|part| text(part.as_bytes())).collect();
            payload.extend(number(exception.frames.len()));
            for Frame { file, line, function } in &exception.frames {
                payload.extend(line.to_le_bytes());
                payload.extend(text(file.as_bytes()));
                payload.extend(text(function.as_bytes()));
            }
            (0x84, payload)
        }
        RunnerEvent::Trouble(trouble) => (0x85, trouble.clone().into_bytes()),
    };
    // Bytes that are not UTF-8 have grown on the way, perhaps beyond what is allowed.
    let too_long = matches!(event, RunnerEvent::Started { version, .. } if version.len() > 64);
    if too_long || payload.len() > PAYLOAD_MAX {
        return;
    }
    let again = Decoder::new().push(&frame(kind, &payload));
    assert_eq!(
        again,
        std::slice::from_ref(event),
        "told again, it is another event"
    );
}

/// One frame.
#[must_use]
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [number(payload.len()).as_slice(), &[kind], payload].concat()
}

/// A text with its length.
#[must_use]
pub fn text(bytes: &[u8]) -> Vec<u8> {
    [number(bytes.len()).as_slice(), bytes].concat()
}

fn number(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}
