//! A keeper in a process of its own, and cells asked of it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    missing_debug_implementations,
    reason = "every test program uses a part of this"
)]

mod foreign_listener;
pub mod residue;

use brig_jail::boot_time::nanos_after;
use brig_jail::client::KeeperLink;
use brig_jail::embedded::take_inherited_socket;
use brig_jail::exec_spec::{ExecSpec, RunnerChannel};
use brig_jail::files::{CellPath, FileReply, FileRequest, FrameReader};
use brig_jail::keeper::{ExitReason, KeeperConfig, Programs, run, serve};
use brig_jail::protocol::{
    CellFacts, CellLimits, CellNumber, CellReceipt, ImageDigest, KillReason, Level, Network, Reply, Request,
};
use brig_jail::stage::SetupFailure;
use libtest_mimic::{Completion, Failed};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const SECOND: u64 = 1_000_000_000;

/// So long on this machine: `BRIG_TESTS_SLACK` says how much slower than others it is by nature.
pub fn stretched(limit: Duration) -> Duration {
    let factor = std::env::var("BRIG_TESTS_SLACK")
        .ok()
        .and_then(|value| value.parse().ok());
    limit * factor.unwrap_or(1)
}

/// First argument of the test program when it is to be a keeper: `KEEPER_WORD CONFIG INIT`.
pub const KEEPER_WORD: &str = "__keeper";

/// What `main` does in place of tests when it was started as a keeper. The process has one thread then.
pub fn be_keeper_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next()? != KEEPER_WORD {
        return None;
    }
    if std::env::var_os("BRIG_TEST_FOREIGN_LISTENER").is_some() {
        foreign_listener::install();
    }
    let mut config: KeeperConfig = serde_json::from_str(&args.next()?).unwrap();
    config.init_image = std::fs::read(args.next()?).unwrap().into();
    let reason = match args.next() {
        Some(program) => {
            let daemon: Vec<OsString> = args.map(OsString::from).collect();
            let programs = Programs {
                program: Path::new(&program),
                daemon: &daemon,
                broker: None,
            };
            serve(&config, programs)
        }
        None => run(&config, take_inherited_socket().unwrap(), None),
    };
    Some(match reason.unwrap() {
        ExitReason::Drained => ExitCode::SUCCESS,
        ExitReason::DaemonGone(_) => ExitCode::from(70),
        ExitReason::Stopped => ExitCode::from(71),
    })
}

pub fn init_program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_brig-jail-init"))
}

pub fn config(instance: &str) -> KeeperConfig {
    let mut config = KeeperConfig::new(Vec::new(), format!("test-{instance}"));
    config.spares = 0;
    config
}

/// A keeper and the daemon's end of its socket.
pub struct Keeper {
    pub link: KeeperLink,
    pub child: Child,
    next: u64,
}

/// A cell that belongs to the test.
pub struct OpenCell {
    pub number: CellNumber,
    pub receipt: CellReceipt,
    pub job: File,
    pub stdin: Option<File>,
    pub stdout: File,
    pub stderr: File,
}

/// What a finished cell left.
#[derive(Debug)]
pub struct Outcome {
    pub facts: CellFacts,
    pub stdout: String,
    pub stderr: String,
}

impl Keeper {
    pub fn start(config: &KeeperConfig) -> Keeper {
        Keeper::start_as(config, &[])
    }

    /// With a command in front, such as `setpriv …`, to be somebody else.
    pub fn start_as(config: &KeeperConfig, prefix: &[&str]) -> Keeper {
        Keeper::start_with(config, &init_program(), prefix)
    }

    /// With another program as the PID 1 of its cells.
    pub fn start_with(config: &KeeperConfig, init: &Path, prefix: &[&str]) -> Keeper {
        let json = serde_json::to_string(config).unwrap();
        let mut command: Vec<String> = prefix.iter().map(|word| (*word).to_owned()).collect();
        command.push(std::env::current_exe().unwrap().to_str().unwrap().to_owned());
        command.push(KEEPER_WORD.to_owned());
        command.push(json);
        command.push(init.to_str().unwrap().to_owned());
        let program = PathBuf::from(command.remove(0));
        let (link, child) = brig_jail::embedded::spawn_keeper(&program, command).unwrap();
        Keeper { link, child, next: 1 }
    }

    pub fn reply(&self) -> (Reply, Vec<OwnedFd>) {
        self.link
            .recv_within(stretched(PATIENCE))
            .expect("the keeper lives")
            .expect("the keeper answers in time")
    }

    pub fn open(&mut self, limits: CellLimits) -> Result<OpenCell, SetupFailure> {
        let level = self.best_level();
        self.open_at(level, limits)
    }

    fn best_level(&mut self) -> Level {
        let (_, strict, _) = self.probe();
        if strict.is_none() {
            Level::Strict
        } else {
            Level::Workstation
        }
    }

    pub fn open_at(&mut self, level: Level, limits: CellLimits) -> Result<OpenCell, SetupFailure> {
        self.open_image(ImageDigest::HOST, level, limits)
    }

    pub fn open_image(
        &mut self,
        image: ImageDigest,
        level: Level,
        limits: CellLimits,
    ) -> Result<OpenCell, SetupFailure> {
        self.next += 1;
        let request = self.next;
        let network = Network::None;
        self.link
            .send(&Request::Open {
                request,
                image,
                level,
                network,
                limits,
            })
            .unwrap();
        match self.reply() {
            (
                Reply::Opened {
                    request: echoed,
                    cell,
                    receipt,
                },
                descriptors,
            ) => {
                assert_eq!(echoed, request);
                let mut files = descriptors.into_iter().map(File::from);
                let mut next = || files.next().unwrap();
                let (job, stdin, stdout, stderr) = (next(), next(), next(), next());
                Ok(OpenCell {
                    number: cell,
                    receipt,
                    job,
                    stdin: Some(stdin),
                    stdout,
                    stderr,
                })
            }
            (Reply::Failed { failure, .. }, _) => Err(failure),
            (other, _) => panic!("not an answer to Open: {other:?}"),
        }
    }

    pub fn probe(&mut self) -> (CellReceipt, Option<SetupFailure>, Option<SetupFailure>) {
        self.next += 1;
        self.link.send(&Request::Probe { request: self.next }).unwrap();
        match self.reply() {
            (
                Reply::Probed {
                    receipt,
                    strict,
                    workstation,
                    ..
                },
                _,
            ) => (receipt, strict, workstation),
            (other, _) => panic!("not an answer to Probe: {other:?}"),
        }
    }

    pub fn start_deadlines(&self, cell: &OpenCell, wall_nanos: u64, cpu_nanos: u64) {
        let cell = cell.number;
        self.link
            .send(&Request::Start {
                cell,
                wall_nanos,
                cpu_nanos,
                lease_until_nanos: nanos_after(Duration::from_secs(60)),
            })
            .unwrap();
    }

    /// Starts a command in an open cell.
    pub fn begin(&self, cell: &mut OpenCell, argv: &[&str], wall_nanos: u64, cpu_nanos: u64) {
        self.start_deadlines(cell, wall_nanos, cpu_nanos);
        send_spec(cell, argv);
        cell.stdin = None;
    }

    pub fn kill(&self, cell: CellNumber) {
        self.link
            .send(&Request::Kill {
                cell,
                reason: KillReason::Cancelled,
            })
            .unwrap();
    }

    /// The end of a cell and of everything of it.
    pub fn finish(&self, mut cell: OpenCell) -> Outcome {
        let mut stdout = String::new();
        let mut stderr = String::new();
        cell.stdout.read_to_string(&mut stdout).unwrap();
        cell.stderr.read_to_string(&mut stderr).unwrap();
        let facts = self.await_end(cell.number);
        self.release(cell.number);
        Outcome {
            facts,
            stdout,
            stderr,
        }
    }

    pub fn await_end(&self, cell: CellNumber) -> CellFacts {
        match self.reply() {
            (Reply::Ended { cell: ended, facts }, _) => {
                assert_eq!(ended, cell);
                facts
            }
            (other, _) => panic!("not the end of cell {cell}: {other:?}"),
        }
    }

    pub fn release(&self, cell: CellNumber) {
        self.link.send(&Request::Release { cell }).unwrap();
        assert_eq!(self.reply().0, Reply::Released { cell });
    }

    /// A whole job: open, run, end, release.
    pub fn job(&mut self, argv: &[&str], limits: CellLimits) -> Outcome {
        let mut cell = self.open(limits).expect("the host gives cells");
        self.begin(&mut cell, argv, 20 * SECOND, 20 * SECOND);
        self.finish(cell)
    }

    /// Closes the socket and waits for the keeper's own end.
    pub fn end(self) -> i32 {
        let Keeper { link, mut child, .. } = self;
        drop(link);
        child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Keeper {
    /// Until there is a spare and the keeper knows that it is complete.
    pub fn await_spare(&mut self) {
        self.await_settled(1);
    }

    /// Until the keeper has so many children or more, all of them waiting behind their filters (the PID 1 of a complete
    /// cell, an enter-helper), and knows it.
    pub fn await_settled(&mut self, wanted: usize) {
        residue::until("the keeper's children are settled", || {
            let children = residue::children(self.child.id());
            children.len() >= wanted && children.into_iter().all(residue::is_settled)
        });
        // The keeper reads in order: after two answers it has seen what was there before the first question.
        for request in [1, 2] {
            self.link.send(&Request::OpenFiles { request, cell: 0 }).unwrap();
            assert!(matches!(self.reply().0, Reply::Failed { .. }));
        }
    }

    /// Until the keeper has no child.
    pub fn await_no_cells(&self) {
        residue::until("every cell is gone", || {
            residue::children(self.child.id()).is_empty()
        });
    }
}

/// Whether cells have control groups here.
pub fn has_groups(keeper: &mut Keeper) -> bool {
    keeper.probe().0.controllers & 7 == 7
}

/// Reads one file of the workspace through an enter-helper.
pub fn read_file(descriptors: Vec<OwnedFd>, name: &[u8]) -> Vec<u8> {
    let mut socket = descriptors.into_iter().map(File::from).next().unwrap();
    socket
        .write_all(
            &FileRequest::Get {
                path: CellPath::new(name).unwrap(),
                max_bytes: 1 << 20,
            }
            .encode(),
        )
        .unwrap();
    let mut frames = FrameReader::new();
    let mut content = Vec::new();
    loop {
        while let Some(frame) = frames.next_frame().unwrap() {
            match FileReply::decode(&frame).unwrap() {
                FileReply::Data(bytes) => content.extend(bytes),
                FileReply::FileEnd { .. } => return content,
                FileReply::Ready | FileReply::FileStart { .. } => {}
                other @ (FileReply::Done
                | FileReply::Failed { .. }
                | FileReply::Refused { .. }
                | FileReply::Entry(_)
                | FileReply::Skipped { .. }
                | FileReply::Finished { .. }) => panic!("not a file: {other:?}"),
            }
        }
        let mut buffer = [0; 4096];
        let length = socket.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "the helper ended");
        frames.push(&buffer[..length]);
    }
}

pub fn send_spec(cell: &mut OpenCell, argv: &[&str]) {
    let spec = ExecSpec {
        argv: argv.iter().map(|word| (*word).into()).collect(),
        env: vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("HOME".into(), "/workspace".into()),
        ],
        cwd: "/workspace".into(),
        runner_channel: RunnerChannel::Close,
    };
    cell.job.write_all(&spec.encode().unwrap()).unwrap();
}

/// Limits small enough for many cells at once.
pub fn small() -> CellLimits {
    CellLimits {
        memory_bytes: 256 << 20,
        workspace_bytes: 32 << 20,
        tmp_bytes: 16 << 20,
        shm_bytes: 16 << 20,
        ..CellLimits::DEFAULT
    }
}

pub fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout == b"0\n")
}

/// Why a test cannot be run here; carried out of it by unwinding.
struct Skipped(&'static str);

pub fn skip(reason: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(Skipped(reason)))
}

/// A skip is told with its reason and counted as one, never as passed.
pub fn seen_or_skipped(body: fn()) -> Result<Completion, Failed> {
    match std::panic::catch_unwind(body) {
        Ok(()) => Ok(Completion::Completed),
        Err(unwound) => match unwound.downcast::<Skipped>() {
            Ok(skipped) => Ok(Completion::ignored_with(skipped.0)),
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}
