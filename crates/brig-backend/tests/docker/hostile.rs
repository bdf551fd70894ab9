//! The first process of a container, taken over: it lies, floods, stalls and hangs up. Its own cell ends, in time, with
//! an error and never with a verdict that it chose against the facts; another cell beside it does not notice.

use crate::conformance::{Heard, command, limits, wanted};
use crate::scripted_engine::Scripted;
use brig_backend::docker::protocol::Request;
use brig_core::backend::{Backend, BackendError, CollectLimits, Exit};
use brig_core::exit::KillCause;
use brig_core::spec::OutputPattern;
use brig_jail::container::wire::{
    Decoder, Down, DownChannel, Ended, Killed, Main, Posture, Seal, Up, UpChannel, VERSION,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A container's end of the wire.
pub struct Liar {
    stream: UnixStream,
    decoder: Decoder<Down>,
    pub seal: Seal,
}

impl Liar {
    pub fn new(stream: UnixStream) -> Liar {
        Liar {
            stream,
            decoder: Decoder::new(),
            seal: Seal::NONE,
        }
    }

    pub fn greet(&mut self) -> bool {
        let posture = Posture {
            seccomp_mode: 2,
            init_closed: true,
            program_first_out: true,
        };
        let version = VERSION;
        self.say(&[Up::Hello { version, posture }])
    }

    /// Whether anybody still listens.
    pub fn say(&mut self, frames: &[Up]) -> bool {
        let mut bytes = Vec::new();
        frames
            .iter()
            .for_each(|frame| frame.encode(self.seal, &mut bytes));
        self.raw(&bytes)
    }

    pub fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next order; `None` when the daemon has hung up.
    pub fn hear(&mut self) -> Option<Down> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                if let Down::Start(start) = &frame {
                    self.seal = start.seal;
                }
                return Some(frame);
            }
            let mut bytes = [0; 65_536];
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.decoder.push(&bytes[..read]),
            }
        }
    }

    pub fn until_start(&mut self) {
        while let Some(frame) = self.hear() {
            if matches!(frame, Down::Start(_)) {
                self.say(&[Up::Started]);
                return;
            }
        }
    }

    /// Listens until the daemon hangs up.
    pub fn stay(&mut self) {
        while self.hear().is_some() {}
    }

    pub fn end(&mut self, main: Main, killed: Killed) -> bool {
        let ended = Ended {
            main,
            killed,
            wall_nanos: u64::MAX,
            cpu_nanos: u64::MAX,
            leftovers_killed: u32::MAX,
        };
        let ends = [UpChannel::Stdout, UpChannel::Stderr, UpChannel::Runner].map(Up::Eof);
        self.say(&ends) && self.say(&[Up::Ended(ended)])
    }
}

/// Runs one program in a container that this plays; at most three seconds.
async fn against(part: impl Fn(&mut Liar) + Send + Sync + 'static) -> (Result<Exit, BackendError>, Duration) {
    let engine = Scripted::played(move |stream| {
        let mut liar = Liar::new(stream);
        liar.greet();
        part(&mut liar);
    });
    let begun = Instant::now();
    let wall = limits(|limits| limits.wall = Some(Duration::from_secs(3)));
    let mut cell = engine.backend.open(&wanted(&engine, wall)).await.unwrap();
    let control = cell.control();
    let running = cell.exec(command(&["/bin/true"]), Arc::new(Heard::default()));
    let broker = async {
        // What the broker does by itself at the limits.
        tokio::time::sleep(Duration::from_secs(4)).await;
        control.kill(KillCause::WallTime);
        std::future::pending::<()>().await;
    };
    let exit = tokio::select! {
        exit = running => exit,
        () = broker => unreachable!(),
    };
    let took = begun.elapsed();
    cell.destroy().await.unwrap();
    // The last handle on the broker.
    drop(control);
    engine.stop().await;
    (exit, took)
}

fn is_protocol(result: &Result<Exit, BackendError>) -> bool {
    matches!(result, Err(BackendError::Protocol(_)))
}

type Part = fn(&mut Liar);

const NONSENSE: [(&str, Part); 9] = [
    ("random bytes", |liar| {
        liar.until_start();
        liar.raw(&[0xa5; 100_000]);
        liar.stay();
    }),
    ("an end without a start", |liar| {
        liar.end(Main::Exited(0), Killed::No);
        liar.stay();
    }),
    ("the end before that of the output", |liar| {
        liar.until_start();
        let ended = Ended {
            main: Main::Exited(0),
            killed: Killed::No,
            wall_nanos: 0,
            cpu_nanos: 0,
            leftovers_killed: 0,
        };
        liar.say(&[Up::Ended(ended)]);
        liar.stay();
    }),
    ("a claim without the seal", |liar| {
        liar.until_start();
        liar.seal = Seal::from_number(1);
        liar.end(Main::Exited(0), Killed::No);
        liar.stay();
    }),
    ("credit that nobody spent", |liar| {
        liar.until_start();
        let channel = DownChannel::Stdin;
        liar.say(&[Up::Credit {
            channel,
            bytes: u32::MAX,
        }]);
        liar.stay();
    }),
    ("a length beyond the limit", |liar| {
        liar.until_start();
        liar.raw(&[0x83, 4, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0]);
        liar.stay();
    }),
    ("files that nobody asked for", |liar| {
        liar.until_start();
        let channel = UpChannel::Files;
        liar.say(&[Up::Data {
            channel,
            bytes: vec![0; 9],
        }]);
        liar.stay();
    }),
    ("a time limit that was not reached", |liar| {
        liar.until_start();
        liar.end(Main::Signalled(9), Killed::Wall);
        liar.stay();
    }),
    ("two greetings", |liar| {
        liar.greet();
        liar.stay();
    }),
];

#[tokio::test]
async fn nonsense_of_any_kind_is_an_error_of_ours_at_once_and_no_verdict() {
    for (what, part) in NONSENSE {
        let (result, took) = against(part).await;
        assert!(is_protocol(&result), "{what}: {result:?}");
        assert!(took < Duration::from_secs(3), "{what}: {took:?}");
    }
}

#[tokio::test]
async fn an_endless_stream_is_the_output_limit_and_who_does_not_obey_is_killed_with_the_container() {
    let (result, took) = against(|liar| {
        liar.until_start();
        let channel = UpChannel::Stdout;
        // Credit is kept to: the daemon's own limit on output has to end it, and it does not obey.
        let mut left = 256 * 1024_usize;
        loop {
            while left >= 65_536 {
                left -= 65_536;
                if !liar.say(&[Up::Data {
                    channel,
                    bytes: vec![b'x'; 65_536],
                }]) {
                    return;
                }
            }
            match liar.hear() {
                Some(Down::Credit { bytes, .. }) => left += usize::try_from(bytes).unwrap(),
                Some(_) => {}
                None => return,
            }
        }
    })
    .await;
    assert_eq!(result.unwrap().facts.killed, Some(KillCause::OutputLimit));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn more_than_the_window_is_no_flood_but_a_lie() {
    let (result, took) = against(|liar| {
        liar.until_start();
        let channel = UpChannel::Runner;
        // A runner that says nothing sensible is not listened to: nobody gives credit at once.
        while liar.say(&[Up::Data {
            channel,
            bytes: vec![0; 65_536],
        }]) {}
    })
    .await;
    assert!(is_protocol(&result), "{result:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn a_container_that_says_nothing_more_ends_at_the_limit() {
    let (result, took) = against(|liar| {
        liar.until_start();
        liar.stay();
    })
    .await;
    assert_eq!(result.unwrap().facts.killed, Some(KillCause::WallTime));
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_container_that_hangs_up_is_an_interruption() {
    let (result, _took) = against(Liar::until_start).await;
    assert!(matches!(result, Err(BackendError::Interrupted(_))), "{result:?}");
    let (result, _took) = against(|liar| {
        let failure = brig_jail::stage::SetupFailure {
            stage: brig_jail::stage::Stage::Plan,
            item: 3,
            errno: 13,
        };
        liar.say(&[Up::Failed(failure)]);
    })
    .await;
    assert!(
        matches!(&result, Err(BackendError::Setup { errno: 13, .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_claim_of_success_is_about_its_own_job_and_counts_no_more_than_our_clock() {
    let (result, took) = against(|liar| {
        liar.until_start();
        liar.end(Main::Exited(0), Killed::No);
        liar.stay();
    })
    .await;
    let facts = result.unwrap().facts;
    assert!(facts.wall <= took);
    assert_eq!(facts.oom_kills, 0);
}

#[tokio::test]
async fn a_container_that_does_not_greet_or_serves_no_files_costs_only_its_own_job() {
    let engine = Scripted::played(|stream| {
        let mut liar = Liar::new(stream);
        liar.greet();
        liar.until_start();
        liar.end(Main::Exited(0), Killed::No);
        // Files: nonsense of the other protocol.
        while let Some(frame) = liar.hear() {
            if frame == Down::OpenFiles {
                let channel = UpChannel::Files;
                liar.say(&[
                    Up::Data {
                        channel,
                        bytes: vec![0xff; 5_000],
                    },
                    Up::Eof(channel),
                ]);
            }
        }
    });
    let mut cell = engine
        .backend
        .open(&wanted(&engine, limits(|_| {})))
        .await
        .unwrap();
    cell.exec(command(&["/bin/true"]), Arc::new(Heard::default()))
        .await
        .unwrap();
    let mut kept = crate::conformance::Kept::default();
    let patterns = [OutputPattern::parse("*").unwrap()];
    for _ in 0..2 {
        let collected = cell
            .download(&patterns, CollectLimits::default(), &mut kept)
            .await;
        assert!(collected.is_err());
    }
    assert_eq!(kept.files, []);
    cell.destroy().await.unwrap();

    engine.script.play(drop);
    let refused = engine.backend.open(&wanted(&engine, limits(|_| {}))).await;
    assert!(matches!(refused.err(), Some(BackendError::Interrupted(_))));
    // What was opened for nothing is given back.
    engine
        .script
        .until(|request| matches!(request, Request::Release { cell } if *cell > 1));
    engine.stop().await;
}
