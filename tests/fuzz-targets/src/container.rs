//! The two streams of a container's PID 1: what comes from it was written beside the program, with its uid.

use brig_jail::container::flow::{Credit, FlowError, WINDOW, Window};
use brig_jail::container::wire::{Decoder, Down, Frame, PAYLOAD_MAX, Seal, UP_HEAD_BYTES, Up, WireError};
use std::fmt::Debug;

/// What the seeds carry.
pub const SEAL: Seal = Seal::from_number(0x005e_a1ed);

/// A byte that says what it is, then the bytes.
pub fn target(data: &[u8]) {
    let (kind, rest) = crate::choice(data);
    match kind % 3 {
        0 => {
            let mut seal = Seal::NONE;
            frames::<Up>(rest, |frame, out| {
                if *frame == Up::Started {
                    seal = SEAL;
                }
                frame.encode(seal, out);
            });
        }
        1 => frames::<Down>(rest, Down::encode),
        _ => flow(rest),
    }
}

/// However the stream is cut, the same frames come out, each is what its one encoding says, and a stream that is broken
/// stays broken.
fn frames<F: Frame + Debug + PartialEq>(data: &[u8], mut encode: impl FnMut(&F, &mut Vec<u8>)) {
    let (cuts, stream) = data.split_at(data.len().min(3));
    let whole = read::<F>(vec![stream]);
    assert_eq!(
        whole,
        read(crate::pieces(stream, cuts)),
        "the cut into pieces matters"
    );
    let mut again = Vec::new();
    for frame in &whole.0 {
        let before = again.len();
        encode(frame, &mut again);
        assert!(again.len() - before <= UP_HEAD_BYTES + PAYLOAD_MAX, "{frame:?}");
    }
    assert!(stream.starts_with(&again), "a frame has two encodings");
}

fn read<F: Frame>(pieces: Vec<&[u8]>) -> (Vec<F>, Option<WireError>) {
    let mut decoder = Decoder::<F>::new();
    decoder.expect(SEAL);
    let mut frames = Vec::new();
    let mut broken = None;
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(_)) if broken.is_some() => panic!("frames behind nonsense"),
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert!(broken.is_none_or(|known| known == error), "another error");
                    broken = Some(error);
                    break;
                }
            }
        }
    }
    (frames, broken)
}

/// Any order of sending, taking and giving back: neither side ever counts more than the window.
fn flow(data: &[u8]) {
    let (mut credit, mut window) = (Credit::default(), Window::default());
    let mut under_way = 0usize;
    for step in data.chunks_exact(5) {
        let Some((kind, number)) = step.split_first_chunk::<1>() else {
            return;
        };
        let number = u32::from_le_bytes(number.try_into().unwrap_or_default());
        let amount = usize::try_from(number % (WINDOW + 2)).unwrap_or(0);
        match kind[0] % 4 {
            0 => {
                let fits = amount <= credit.left();
                assert_eq!(credit.spend(amount).is_ok(), fits);
                if fits {
                    // What an honest sender sends always fits.
                    assert_eq!(window.receive(amount), Ok(()));
                    under_way += amount;
                }
            }
            1 => {
                window.consume(amount);
                under_way = under_way.saturating_sub(amount);
            }
            2 => assert_eq!(credit.give(window.settle()), Ok(())),
            _ => {
                // Hostile numbers: refused, and nothing has changed.
                let before = (credit, window);
                if credit.give(number) == Ok(()) || window.receive(amount) == Ok(()) {
                    (credit, window) = before;
                } else {
                    assert_eq!((credit, window), before);
                    assert_eq!(credit.give(number), Err(FlowError::Gift));
                }
            }
        }
        let most = usize::try_from(WINDOW).unwrap_or(0);
        assert!(credit.left() <= most && under_way <= most);
    }
}
