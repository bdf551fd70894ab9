use super::*;
use crate::stage::Stage;
use proptest::collection::vec;
use proptest::prelude::*;

fn down() -> impl Strategy<Value = Down> {
    let channel = proptest::sample::select(DownChannel::ALL.to_vec());
    let up = proptest::sample::select(UpChannel::ALL.to_vec());
    prop_oneof![
        any::<[u64; 6]>().prop_map(
            |[
                wall_nanos,
                cpu_nanos,
                lease_nanos,
                file_size_bytes,
                open_files,
                seal,
            ]| Down::Start(Start {
                wall_nanos,
                cpu_nanos,
                lease_nanos,
                file_size_bytes,
                open_files,
                seal: Seal(seal),
            })
        ),
        any::<u64>().prop_map(|lease_nanos| Down::Renew { lease_nanos }),
        (channel.clone(), vec(any::<u8>(), 1..2_000))
            .prop_map(|(channel, bytes)| Down::Data { channel, bytes }),
        channel.prop_map(Down::Eof),
        (up.clone(), any::<u32>()).prop_map(|(channel, bytes)| Down::Credit { channel, bytes }),
        up.prop_map(Down::Shut),
        Just(Down::OpenFiles),
    ]
}

fn ended() -> impl Strategy<Value = Ended> {
    let main = prop_oneof![
        any::<u8>().prop_map(Main::Exited),
        (1u8..=64).prop_map(Main::Signalled),
        Just(Main::Unknown),
    ];
    let killed = proptest::sample::select(vec![Killed::No, Killed::Wall, Killed::Lease]);
    (main, killed, any::<[u64; 2]>(), any::<u32>()).prop_map(|(main, killed, [wall, cpu], leftovers)| Ended {
        main,
        killed,
        wall_nanos: wall,
        cpu_nanos: cpu,
        leftovers_killed: leftovers,
    })
}

fn up() -> impl Strategy<Value = Up> {
    let channel = proptest::sample::select(UpChannel::ALL.to_vec());
    let down = proptest::sample::select(DownChannel::ALL.to_vec());
    let stage = proptest::sample::select(Stage::ALL.to_vec());
    prop_oneof![
        (any::<u16>(), any::<u8>(), any::<bool>(), any::<bool>()).prop_map(
            |(version, mode, closed, first)| {
                Up::Hello {
                    version,
                    posture: Posture {
                        seccomp_mode: mode,
                        init_closed: closed,
                        program_first_out: first,
                    },
                }
            }
        ),
        Just(Up::Started),
        (channel.clone(), vec(any::<u8>(), 1..2_000))
            .prop_map(|(channel, bytes)| Up::Data { channel, bytes }),
        channel.prop_map(Up::Eof),
        (down, any::<u32>()).prop_map(|(channel, bytes)| Up::Credit { channel, bytes }),
        ended().prop_map(Up::Ended),
        (stage, any::<u16>(), any::<i32>()).prop_map(|(stage, item, errno)| Up::Failed(SetupFailure {
            stage,
            item,
            errno
        })),
    ]
}

const SEAL: Seal = Seal(0x0123_4567_89ab_cdef);

/// As PID 1 sends them: sealed from `Started` on.
fn sealed(frames: &[Up]) -> Vec<u8> {
    let (mut bytes, mut seal) = (Vec::new(), Seal::NONE);
    for frame in frames {
        if *frame == Up::Started {
            seal = SEAL;
        }
        frame.encode(seal, &mut bytes);
    }
    bytes
}

/// Everything that comes out of a stream that arrives in these pieces, and how it ends.
fn read<'a, F: Frame>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<F>, Option<WireError>) {
    let mut decoder = Decoder::new();
    decoder.expect(SEAL);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

proptest! {
    #[test]
    fn frames_to_the_container_survive_any_cut(frames in vec(down(), 0..8), cut in 1usize..400) {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        prop_assert_eq!(read(bytes.chunks(cut)), (frames, None));
    }

    #[test]
    fn frames_from_the_container_survive_any_cut(frames in vec(up(), 0..8), cut in 1usize..400) {
        let bytes = sealed(&frames);
        prop_assert_eq!(read(bytes.chunks(cut)), (frames, None));
    }

    #[test]
    fn the_cut_of_hostile_bytes_does_not_matter(bytes in vec(any::<u8>(), 0..200), cut in 1usize..20) {
        let whole: (Vec<Up>, _) = read(std::iter::once(bytes.as_slice()));
        prop_assert_eq!(whole, read(bytes.chunks(cut)));
    }
}

#[test]
fn data_longer_than_a_frame_become_several_and_none_become_none() {
    let long = vec![7; PAYLOAD_MAX + 1];
    let mut bytes = Vec::new();
    let frame = Up::Data {
        channel: UpChannel::Stdout,
        bytes: long,
    };
    frame.encode(Seal::NONE, &mut bytes);
    encode_data(UpChannel::Stderr, &[], Seal::NONE, &mut bytes);
    let (frames, error) = read::<Up>(std::iter::once(bytes.as_slice()));
    let lengths: Vec<usize> = frames
        .iter()
        .map(|frame| {
            let Up::Data { bytes, .. } = frame else {
                panic!("{frame:?}")
            };
            bytes.len()
        })
        .collect();
    assert_eq!((lengths, error), (vec![PAYLOAD_MAX, 1], None));
}

#[test]
fn a_length_is_refused_before_its_bytes_are_waited_for() {
    let mut head = vec![0x83, 4, 0, 0];
    head.extend_from_slice(&65_537u64.to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    let mut decoder = Decoder::<Up>::new();
    decoder.push(&head);
    assert_eq!(decoder.next_frame(), Err(WireError::Length { length: 65_537 }));
    // Nothing more is kept, and nothing more is read.
    let mut started = Vec::new();
    Up::Started.encode(Seal::NONE, &mut started);
    decoder.push(&started);
    assert_eq!(decoder.next_frame(), Err(WireError::Length { length: 65_537 }));
    assert_eq!(decoder.held(), 0);
}

#[test]
fn what_the_program_writes_into_the_stream_never_passes_for_a_word_of_pid_1() {
    let ended = Up::Ended(Ended {
        main: Main::Exited(0),
        killed: Killed::No,
        wall_nanos: 1,
        cpu_nanos: 1,
        leftovers_killed: 0,
    });
    let honest = sealed(&[Up::Started]);
    for guess in [Seal::NONE, Seal::from_number(SEAL.0 ^ 1)] {
        let mut stream = honest.clone();
        ended.encode(guess, &mut stream);
        let (frames, error) = read(std::iter::once(stream.as_slice()));
        assert_eq!(
            (frames, error),
            (vec![Up::Started], Some(WireError::Unsealed { kind: 0x86 }))
        );
    }
    // Nor does it start in place of PID 1, nor is a seal good before there is one.
    let mut unsealed = Vec::new();
    Up::Started.encode(Seal::NONE, &mut unsealed);
    let mut early = Vec::new();
    Up::Eof(UpChannel::Files).encode(SEAL, &mut early);
    for stream in [unsealed, early] {
        let (frames, error) = read::<Up>(std::iter::once(stream.as_slice()));
        assert!(frames.is_empty() && matches!(error, Some(WireError::Unsealed { .. })));
    }
}

#[test]
fn seals_differ_and_are_shown_to_nobody() {
    let seals: std::collections::BTreeSet<u64> = (0..100).map(|_| Seal::fresh().0).collect();
    assert_eq!((seals.len(), seals.contains(&0)), (100, false));
    assert_eq!(format!("{SEAL:?}"), "Seal(…)");
}

#[test]
fn what_has_no_meaning_is_refused() {
    let nonsense: [[u8; 8]; 10] = [
        // Kinds of the other direction, and one of nobody.
        [0x01, 0, 0, 0, 40, 0, 0, 0],
        [0x03, 4, 0, 0, 1, 0, 0, 0],
        [0x88, 0, 0, 0, 0, 0, 0, 0],
        // Channels that go down, that do not exist, and one where there is none.
        [0x84, 1, 0, 0, 0, 0, 0, 0],
        [0x84, 7, 0, 0, 0, 0, 0, 0],
        [0x82, 4, 0, 0, 0, 0, 0, 0],
        // Bytes that have to be zero.
        [0x82, 0, 1, 0, 0, 0, 0, 0],
        [0x82, 0, 0, 1, 0, 0, 0, 0],
        // Too long and empty.
        [0x82, 0, 0, 0, 1, 0, 0, 0],
        [0x83, 4, 0, 0, 0, 0, 0, 0],
    ];
    for bytes in nonsense {
        let seal = if bytes[0] == 0x82 { SEAL } else { Seal::NONE };
        let whole = [bytes.as_slice(), &seal.0.to_le_bytes(), &[0]].concat();
        let (frames, error) = read::<Up>(std::iter::once(whole.as_slice()));
        assert!(frames.is_empty(), "{bytes:?}");
        assert_eq!(error, Some(WireError::Malformed { kind: bytes[0] }), "{bytes:?}");
    }
}
