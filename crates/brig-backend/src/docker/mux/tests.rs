//! The wire of a container against containers that the test plays, well-behaved and not.

use super::*;
use brig_jail::container::flow::WINDOW;
use brig_jail::container::flow::Window;
use brig_jail::container::wire::{Decoder, Killed, Main, Seal};
use proptest::prelude::*;

const POSTURE: Posture = Posture {
    seccomp_mode: 2,
    init_closed: true,
    program_first_out: true,
};
const HELLO: Up = Up::Hello {
    version: VERSION,
    posture: POSTURE,
};
const START: Start = Start {
    wall_nanos: 1,
    cpu_nanos: 2,
    lease_nanos: 3,
    file_size_bytes: 4,
    open_files: 5,
    seal: SEAL,
};
const SEAL: Seal = Seal::from_number(77);
const ENDED: Ended = Ended {
    main: Main::Exited(0),
    killed: Killed::No,
    wall_nanos: 1,
    cpu_nanos: 1,
    leftovers_killed: 0,
};
const OUTPUT: [UpChannel; 3] = [UpChannel::Stdout, UpChannel::Stderr, UpChannel::Runner];

/// Frames from before the program.
fn early(frames: &[Up]) -> Vec<u8> {
    sealed(Seal::NONE, frames)
}

/// Frames from the program's start on.
fn bytes(frames: &[Up]) -> Vec<u8> {
    sealed(SEAL, frames)
}

fn sealed(seal: Seal, frames: &[Up]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.encode(seal, &mut out));
    out
}

fn data(channel: UpChannel, bytes: &[u8]) -> Up {
    let bytes = bytes.to_vec();
    Up::Data { channel, bytes }
}

/// What the container gets.
fn heard(mux: &mut Mux) -> Vec<Down> {
    let mut out = Vec::new();
    mux.outgoing(&mut out);
    let mut decoder = Decoder::new();
    decoder.push(&out);
    std::iter::from_fn(|| decoder.next_frame().unwrap()).collect()
}

/// A mux whose program runs.
fn running() -> Mux {
    let mut mux = Mux::new();
    mux.receive(&early(&[HELLO])).unwrap();
    mux.start(START);
    assert_eq!(heard(&mut mux), [Down::Start(START)]);
    mux.receive(&bytes(&[Up::Started])).unwrap();
    mux
}

fn read_all(mux: &mut Mux, channel: UpChannel) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 1_000];
    while let Some(count @ 1..) = mux.read(channel, &mut part) {
        all.extend_from_slice(&part[..count]);
    }
    all
}

#[test]
fn a_job_runs_through_its_phases() {
    let mut mux = running();
    assert_eq!(mux.posture(), Some(POSTURE));
    assert_eq!(mux.write(DownChannel::Job, b"spec"), Ok(Some(4)));
    mux.close(DownChannel::Stdin);
    let job = Down::Data {
        channel: DownChannel::Job,
        bytes: b"spec".to_vec(),
    };
    assert_eq!(heard(&mut mux), [job, Down::Eof(DownChannel::Stdin)]);
    let end = OUTPUT.map(Up::Eof);
    let output = [data(UpChannel::Stdout, b"out"), data(UpChannel::Stderr, b"err")];
    let said = [output.as_slice(), &end, &[Up::Ended(ENDED)]].concat();
    mux.receive(&bytes(&said)).unwrap();
    assert_eq!(mux.end(), Some(End::Ended(ENDED)));
    assert_eq!(read_all(&mut mux, UpChannel::Stdout), b"out");
    assert_eq!(mux.read(UpChannel::Stdout, &mut [0; 9]), Some(0));
    assert_eq!(mux.write(DownChannel::Job, b"more"), Err(Refused));
}

#[test]
fn frames_that_nobody_asked_for_end_the_cell() {
    let ended = Up::Ended(ENDED);
    let stdout = data(UpChannel::Stdout, b"x");
    let files = data(UpChannel::Files, b"x");
    let credit = |channel, bytes| Up::Credit { channel, bytes };
    let idle: &[&[Up]] = &[
        &[Up::Started],
        std::slice::from_ref(&stdout),
        std::slice::from_ref(&files),
        std::slice::from_ref(&ended),
        &[credit(DownChannel::Stdin, 1)],
        &[HELLO],
        &[Up::Eof(UpChannel::Files)],
    ];
    for said in idle {
        let mut mux = Mux::new();
        mux.receive(&early(&[HELLO])).unwrap();
        assert!(mux.receive(&early(said)).is_err(), "{said:?}");
        let mut silent = Mux::new();
        let first = silent.receive(&early(&said[..1]));
        assert_eq!(first.is_err(), said[0] != HELLO, "{said:?}");
    }
    let run: &[&[Up]] = &[
        &[Up::Started],
        &[files],
        std::slice::from_ref(&ended),
        &[Up::Eof(UpChannel::Stdout), stdout.clone()],
        &[Up::Eof(UpChannel::Stdout), Up::Eof(UpChannel::Stdout)],
        &[credit(DownChannel::Job, u32::MAX)],
    ];
    for said in run {
        assert!(running().receive(&bytes(said)).is_err(), "{said:?}");
    }
    let mut over = running();
    over.receive(&bytes(&[OUTPUT.map(Up::Eof).as_slice(), &[ended]].concat()))
        .unwrap();
    for said in [Up::Ended(ENDED), Up::Started, stdout] {
        assert!(over.receive(&bytes(&[said])).is_err());
    }
    let version = Up::Hello {
        version: 9,
        posture: POSTURE,
    };
    assert_eq!(Mux::new().receive(&early(&[version])), Err(Nonsense::Version(9)));
}

#[test]
fn a_channel_that_nobody_reads_holds_one_window_and_no_other_channel() {
    let mut mux = running();
    let window = usize::try_from(WINDOW).unwrap();
    mux.receive(&bytes(&[data(UpChannel::Stdout, &vec![b'x'; window])]))
        .unwrap();
    mux.receive(&bytes(&[data(UpChannel::Stderr, b"passes")]))
        .unwrap();
    assert_eq!(read_all(&mut mux, UpChannel::Stderr), b"passes");
    // An order passes as well, and no credit is given for what was not read.
    mux.renew(7);
    assert_eq!(heard(&mut mux), [Down::Renew { lease_nanos: 7 }]);
    // One byte more than the window is a lie.
    let more = mux.receive(&bytes(&[data(UpChannel::Stdout, b"y")]));
    assert_eq!(more, Err(Nonsense::Flow(FlowError::Overrun)));
}

#[test]
fn a_program_that_does_not_read_holds_up_its_own_channel_alone() {
    let mut mux = running();
    let mut sent = 0;
    while let Ok(Some(count)) = mux.write(DownChannel::Stdin, &[b'x'; 10_000]) {
        for frame in heard(&mut mux) {
            let Down::Data { bytes, .. } = frame else {
                panic!("{frame:?}")
            };
            sent += bytes.len();
        }
        if sent >= usize::try_from(WINDOW).unwrap() {
            break;
        }
        assert!(count > 0);
    }
    while let Ok(Some(_)) = mux.write(DownChannel::Stdin, &[b'x'; 10_000]) {}
    assert_eq!(heard(&mut mux), []);
    assert_eq!(mux.write(DownChannel::Job, b"job"), Ok(Some(3)));
    assert_eq!(heard(&mut mux).len(), 1);
    let channel = DownChannel::Stdin;
    mux.receive(&bytes(&[Up::Credit { channel, bytes: 100 }]))
        .unwrap();
    assert!(matches!(heard(&mut mux).as_slice(), [Down::Data { bytes, .. }] if bytes.len() == 100));
}

#[test]
fn whoever_writes_to_a_runners_channel_that_nobody_reads_is_told() {
    let mut mux = running();
    mux.discard(UpChannel::Runner);
    assert_eq!(heard(&mut mux), [Down::Shut(UpChannel::Runner)]);
    mux.receive(&bytes(&[
        data(UpChannel::Runner, b"late"),
        Up::Eof(UpChannel::Runner),
    ]))
    .unwrap();
    // One that has ended needs no word.
    let mut mux = running();
    mux.receive(&bytes(&[Up::Eof(UpChannel::Runner)])).unwrap();
    mux.discard(UpChannel::Runner);
    assert_eq!(heard(&mut mux), []);
}

#[test]
fn what_nobody_wants_is_thrown_away_a_little_at_a_time() {
    let mut mux = running();
    mux.discard(UpChannel::Stdout);
    let window = usize::try_from(WINDOW).unwrap();
    for _ in 0..5 {
        mux.receive(&bytes(&[data(UpChannel::Stdout, &vec![0; window])]))
            .unwrap();
        assert!(mux.needs_tick());
        assert_eq!(heard(&mut mux), [], "credit without a tick");
        mux.tick();
        assert!(!mux.needs_tick());
        let channel = UpChannel::Stdout;
        assert_eq!(
            heard(&mut mux),
            [Down::Credit {
                channel,
                bytes: WINDOW
            }]
        );
    }
}

#[test]
fn conversations_about_files_come_one_after_another() {
    let mut mux = Mux::new();
    mux.receive(&early(&[HELLO])).unwrap();
    for turn in 0..3 {
        assert!(mux.open_files(), "{turn}");
        assert!(!mux.open_files());
        assert_eq!(mux.write(DownChannel::Files, b"put"), Ok(Some(3)));
        let sent = heard(&mut mux);
        assert_eq!(sent[0], Down::OpenFiles);
        mux.receive(&early(&[data(UpChannel::Files, b"done")])).unwrap();
        assert_eq!(read_all(&mut mux, UpChannel::Files), b"done");
        mux.leave_files();
        assert!(!mux.files_are_free());
        assert_eq!(heard(&mut mux), [Down::Eof(DownChannel::Files)]);
        // Credit for it may come late.
        let late = Up::Credit {
            channel: DownChannel::Files,
            bytes: 3,
        };
        mux.receive(&early(&[Up::Eof(UpChannel::Files), late])).unwrap();
        assert!(mux.files_are_free());
    }
}

#[test]
fn a_program_starts_behind_the_last_word_about_files_and_its_kill_behind_the_start() {
    let mut mux = Mux::new();
    mux.receive(&early(&[HELLO])).unwrap();
    mux.open_files();
    mux.write(DownChannel::Files, b"put").unwrap();
    mux.leave_files();
    mux.start(START);
    mux.renew(1);
    let sent = heard(&mut mux);
    let expected = [
        Down::Eof(DownChannel::Files),
        Down::Start(START),
        Down::Renew { lease_nanos: 1 },
    ];
    assert_eq!((&sent[0], &sent[2..]), (&Down::OpenFiles, expected.as_slice()));
}

#[test]
fn a_failure_is_the_end_of_every_channel() {
    let mut mux = Mux::new();
    mux.receive(&early(&[HELLO])).unwrap();
    mux.open_files();
    let failure = SetupFailure {
        stage: brig_jail::stage::Stage::Plan,
        item: 1,
        errno: 2,
    };
    mux.receive(&early(&[Up::Failed(failure)])).unwrap();
    assert_eq!(mux.end(), Some(End::Failed(failure)));
    assert_eq!(mux.read(UpChannel::Stdout, &mut [0; 9]), Some(0));
    assert_eq!(mux.write(DownChannel::Files, b"x"), Err(Refused));
}

/// One step of either side.
#[derive(Debug, Clone)]
enum Step {
    Says(usize, usize),
    Reads(usize, usize),
    Writes(usize, usize),
    Takes(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..3, 1usize..90_000).prop_map(|(channel, size)| Step::Says(channel, size)),
        (0usize..3, 1usize..90_000).prop_map(|(channel, size)| Step::Reads(channel, size)),
        (0usize..2, 1usize..90_000).prop_map(|(channel, size)| Step::Writes(channel, size)),
        (1usize..90_000).prop_map(Step::Takes),
    ];
    proptest::collection::vec(step, 1..120)
}

/// An honest container: it keeps to its credit and gives credit for what it took.
#[derive(Default)]
struct Honest {
    credit: [Credit; 3],
    windows: [Window; 2],
    said: [Vec<u8>; 3],
    took: [Vec<u8>; 2],
    untaken: [usize; 2],
}

impl Honest {
    fn says(&mut self, mux: &mut Mux, channel: usize, size: usize) {
        let size = size.min(self.credit[channel].left());
        if size == 0 {
            return;
        }
        self.credit[channel].spend(size).unwrap();
        let from = self.said[channel].len();
        let part: Vec<u8> = (from..from + size)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        self.said[channel].extend(&part);
        mux.receive(&bytes(&[data(OUTPUT[channel], &part)])).unwrap();
    }

    fn hears(&mut self, mux: &mut Mux) {
        for frame in heard(mux) {
            match frame {
                Down::Data { channel, bytes } => {
                    let at = usize::from(channel == DownChannel::Stdin);
                    self.windows[at].receive(bytes.len()).unwrap();
                    self.untaken[at] += bytes.len();
                    self.took[at].extend(bytes);
                }
                Down::Credit { channel, bytes } => {
                    let at = OUTPUT.iter().position(|known| *known == channel).unwrap();
                    self.credit[at].give(bytes).unwrap();
                }
                Down::Start(_) | Down::Renew { .. } | Down::Eof(_) | Down::Shut(_) | Down::OpenFiles => {
                    panic!("an order")
                }
            }
        }
    }

    fn takes(&mut self, mux: &mut Mux, size: usize) {
        for (at, channel) in [DownChannel::Job, DownChannel::Stdin].into_iter().enumerate() {
            let count = size.min(self.untaken[at]);
            self.untaken[at] -= count;
            self.windows[at].consume(count);
            let bytes = self.windows[at].settle();
            if bytes > 0 {
                mux.receive(&self::bytes(&[Up::Credit { channel, bytes }]))
                    .unwrap();
            }
        }
    }
}

proptest! {
    // Megabytes move in each.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_order_of_steps_moves_every_byte_and_holds_little(steps in steps()) {
        let mut mux = running();
        let mut honest = Honest::default();
        let (mut read, mut written) = ([vec![], vec![], vec![]], [vec![], vec![]]);
        for step in steps {
            match step {
                Step::Says(channel, size) => honest.says(&mut mux, channel, size),
                Step::Reads(channel, size) => {
                    let mut part = vec![0; size];
                    if let Some(count) = mux.read(OUTPUT[channel], &mut part) {
                        read[channel].extend_from_slice(&part[..count]);
                    }
                }
                Step::Writes(channel, size) => {
                    let part = vec![u8::try_from(size % 256).unwrap(); size];
                    let to = [DownChannel::Job, DownChannel::Stdin][channel];
                    if let Some(count) = mux.write(to, &part).unwrap() {
                        written[channel].extend_from_slice(&part[..count]);
                    }
                }
                Step::Takes(size) => honest.takes(&mut mux, size),
            }
            honest.hears(&mut mux);
            for up in &mux.incoming {
                prop_assert!(up.held.len() <= usize::try_from(WINDOW).unwrap());
            }
            for down in &mux.outgoing {
                prop_assert!(down.queue.len() <= QUEUE_MAX);
            }
        }
        // Everybody takes what is left.
        for _ in 0..100 {
            for (channel, read) in OUTPUT.into_iter().zip(&mut read) {
                read.extend(read_all(&mut mux, channel));
            }
            honest.takes(&mut mux, usize::MAX);
            honest.hears(&mut mux);
        }
        prop_assert!(read == honest.said);
        prop_assert!(written == honest.took);
    }

    #[test]
    fn hostile_bytes_are_survived_and_little_of_them_is_held(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2_000), 0..20),
    ) {
        let mut mux = running();
        for part in parts {
            if mux.receive(&part).is_err() {
                break;
            }
            heard(&mut mux);
        }
        for up in &mux.incoming {
            prop_assert!(up.held.len() <= usize::try_from(WINDOW).unwrap());
        }
    }

    /// Frames of the protocol in any order: each is taken or ends the cell, none is a panic.
    #[test]
    fn frames_in_any_order_are_survived(choices in proptest::collection::vec((0usize..12, 0u32..400_000), 0..60)) {
        let mut mux = Mux::new();
        for (choice, size) in choices {
            let bytes_of = vec![7; usize::try_from(size % 65_536).unwrap().max(1)];
            let frame = match choice {
                0 => HELLO,
                1 => Up::Started,
                2..=5 => data(UpChannel::ALL[choice - 2], &bytes_of),
                6..=8 => Up::Eof(UpChannel::ALL[choice - 5]),
                9 => Up::Credit { channel: DownChannel::Files, bytes: size },
                10 => Up::Credit { channel: DownChannel::Job, bytes: size },
                _ => Up::Ended(ENDED),
            };
            match size % 5 {
                0 => mux.start(START),
                1 => drop(mux.open_files()),
                2 => mux.leave_files(),
                3 => mux.tick(),
                _ => mux.discard(UpChannel::Stdout),
            }
            let frame = [frame];
            let said = if mux.phase == Phase::Running { bytes(&frame) } else { early(&frame) };
            if mux.receive(&said).is_err() {
                break;
            }
            heard(&mut mux);
            for up in &mux.incoming {
                prop_assert!(up.held.len() <= usize::try_from(WINDOW).unwrap());
            }
        }
    }
}
