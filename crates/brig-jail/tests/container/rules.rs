//! What PID 1 insists on: its surroundings, and the protocol.

use super::guest::{Guest, Lacks, PATIENCE, Silence, is_foreign, limits, spec};
use brig_jail::container::wire::{Down, DownChannel, Up, UpChannel};
use brig_jail::exec_spec::RunnerChannel;
use brig_jail::stage::{SetupFailure, Stage};

pub const TESTS: &[(&str, fn())] = &[
    ("nothing_runs_with_a_capability", no_capability),
    (
        "nothing_runs_and_nobody_is_killed_by_one_that_is_not_the_first_process",
        not_the_first,
    ),
    ("nothing_runs_without_a_workspace", no_workspace),
    ("a_daemon_that_breaks_the_protocol_loses_the_container", nonsense),
];

fn refused(lacks: Lacks) -> Option<SetupFailure> {
    if is_foreign() {
        return None;
    }
    let mut guest = Guest::start_lacking(lacks);
    match guest.next() {
        Up::Failed(failure) => {
            assert_eq!(guest.hear(PATIENCE), Ok(None));
            Some(failure)
        }
        other => panic!("{other:?}"),
    }
}

fn no_capability() {
    if let Some(failure) = refused(Lacks::TheLossOfItsCapabilities) {
        assert_eq!((failure.stage, failure.errno), (Stage::Identity, libc::EPERM));
        assert!((20..=22).contains(&failure.item), "{failure:?}");
    }
}

fn not_the_first() {
    if is_foreign() {
        return;
    }
    let mut guest = Guest::start_lacking(Lacks::TheFirstPlace);
    match guest.next() {
        Up::Failed(failure) => assert_eq!((failure.stage, failure.item), (Stage::Namespace, 10)),
        other => panic!("{other:?}"),
    }
    // The shell that started it lives, and speaks after it.
    assert!(matches!(guest.hear(PATIENCE), Err(Silence::Broken(_))));
}

fn no_workspace() {
    if let Some(failure) = refused(Lacks::Workspace) {
        let expected = SetupFailure {
            stage: Stage::Mount,
            item: 0,
            errno: libc::ENOENT,
        };
        assert_eq!(failure, expected);
    }
}

/// Each of these ends the container with this word.
fn nonsense() {
    let more_than_the_window = |guest: &mut Guest| {
        for _ in 0..9 {
            let bytes = vec![0; 32 * 1024];
            guest.say(&Down::Data {
                channel: DownChannel::Stdin,
                bytes,
            });
        }
    };
    let bad: [(&str, &dyn Fn(&mut Guest)); 7] = [
        ("no frame", &|guest| raw(guest, b"hello, container")),
        ("more than the window", &more_than_the_window),
        ("credit for nothing", &|guest| {
            guest.say(&Down::Credit {
                channel: UpChannel::Stdout,
                bytes: 1,
            });
        }),
        ("bytes after the end", &|guest| {
            guest.say(&Down::Eof(DownChannel::Stdin));
            guest.data(DownChannel::Stdin, b"x");
        }),
        ("files without a conversation", &|guest| {
            guest.data(DownChannel::Files, b"x")
        }),
        ("a second start", &|guest| {
            guest.begin(limits(), &["/bin/sleep", "100"]);
            guest.say(&Down::Start(limits()));
        }),
        ("a start in the middle of a conversation", &|guest| {
            guest.say(&Down::OpenFiles);
            guest.say(&Down::Start(limits()));
            let spec = spec(&["/bin/true"], RunnerChannel::Close).encode().unwrap();
            guest.data(DownChannel::Job, &spec);
        }),
    ];
    for (name, act) in bad {
        let mut guest = Guest::start();
        act(&mut guest);
        loop {
            match guest.hear(PATIENCE).unwrap() {
                Some(Up::Failed(failure)) => {
                    assert_eq!(
                        (failure.stage, failure.errno),
                        (Stage::Channels, libc::EPROTO),
                        "{name}"
                    );
                    break;
                }
                Some(Up::Data { .. } | Up::Credit { .. } | Up::Eof(_)) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
        assert_eq!(guest.hear(PATIENCE), Ok(None), "{name}");
    }
}

fn raw(guest: &mut Guest, bytes: &[u8]) {
    use std::io::Write;
    guest.input.as_mut().unwrap().write_all(bytes).unwrap();
}
