//! What every backend does alike. Each behaviour is a real program, and a script that stands for it in the fake.

use async_trait::async_trait;
use brig_backend::fake::Step;
use brig_core::StreamName::{Stderr, Stdout};
use brig_core::backend::{
    Backend, Bulk, CellRequest, CollectLimits, Execution, Exit, FileSink, OutputPiece, OutputSink,
    ProgramReport, Start,
};
use brig_core::exit::{ExitFacts, KillCause, MainExit};
use brig_core::id::{FileId, JobId};
use brig_core::limits::{Bytes, Limits, LimitsPolicy, LimitsRequest};
use brig_core::spec::{BackendName, ImageName, IsolationLevel, NetworkPolicy, OutputPattern};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// A backend under test.
#[async_trait]
pub trait Subject: Sync {
    /// The backend.
    fn backend(&self) -> &dyn Backend;
    /// The level that this machine gives.
    fn level(&self) -> IsolationLevel;
    /// The backend's name and its image.
    fn place(&self) -> (BackendName, ImageName) {
        (BackendName::jail(), ImageName::host())
    }
    /// For a backend that runs nothing: what the next program does.
    fn script(&self, steps: Vec<Step>);
}

/// Output as it came, with a bell for every piece.
#[derive(Default)]
pub struct Heard {
    pieces: Mutex<Vec<OutputPiece>>,
    bell: Notify,
}

impl Heard {
    pub fn text(&self, stream: brig_core::StreamName) -> String {
        let pieces = self.pieces.lock().unwrap();
        let bytes: Vec<u8> = pieces
            .iter()
            .filter(|p| p.stream == stream)
            .flat_map(|p| p.data.clone())
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    pub async fn until(&self, stream: brig_core::StreamName, text: &str) {
        loop {
            let bell = self.bell.notified();
            if self.text(stream).contains(text) {
                return;
            }
            bell.await;
        }
    }
}

#[async_trait]
impl OutputSink for Heard {
    async fn output(&self, piece: OutputPiece) {
        self.pieces.lock().unwrap().push(piece);
        self.bell.notify_one();
    }
}

/// Collected files in memory.
#[derive(Default)]
pub struct Kept {
    pub files: Vec<(String, Vec<u8>)>,
}

#[async_trait]
impl FileSink for Kept {
    async fn begin(&mut self, path: &str) -> Result<(), std::io::Error> {
        self.files.push((path.to_owned(), Vec::new()));
        Ok(())
    }
    async fn data(&mut self, bytes: &[u8]) -> Result<(), std::io::Error> {
        self.files.last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }
    async fn end(&mut self) -> Result<FileId, std::io::Error> {
        Ok(FileId::generate())
    }
    async fn discard(&mut self) {
        self.files.pop();
    }
}

pub fn limits(change: impl FnOnce(&mut LimitsRequest)) -> Limits {
    let mut request = LimitsRequest::default();
    change(&mut request);
    request.resolve(&LimitsPolicy::default()).unwrap()
}

pub fn request(level: IsolationLevel, limits: Limits) -> CellRequest {
    CellRequest {
        job: JobId::generate(),
        backend: BackendName::jail(),
        image: ImageName::host(),
        isolation: level,
        network: NetworkPolicy::None,
        limits,
    }
}

/// The request for this subject.
pub fn wanted(subject: &dyn Subject, limits: Limits) -> CellRequest {
    let (backend, image) = subject.place();
    CellRequest {
        backend,
        image,
        ..request(subject.level(), limits)
    }
}

pub fn python(code: &str) -> Execution {
    let start = Start::Python {
        code: code.as_bytes().to_vec(),
        file: None,
        args: vec![],
    };
    execution(start)
}

pub fn command(argv: &[&str]) -> Execution {
    execution(Start::Command {
        argv: argv.iter().map(|part| (*part).to_owned()).collect(),
    })
}

pub fn execution(start: Start) -> Execution {
    Execution {
        start,
        env: vec![],
        redact: vec![],
        stdin: Bulk::Memory(vec![]),
        lease_until: std::time::Instant::now() + Duration::from_secs(60),
    }
}

/// Runs one program in a cell of its own.
pub async fn run(subject: &dyn Subject, limits: Limits, execution: Execution) -> (Exit, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let mut cell = subject.backend().open(&wanted(subject, limits)).await.unwrap();
    let exit = cell
        .exec(execution, Arc::clone(&heard) as Arc<dyn OutputSink>)
        .await
        .unwrap();
    cell.destroy().await.unwrap();
    (exit, heard)
}

/// All behaviours.
pub async fn all(subject: &dyn Subject) {
    an_exit_code_is_told(subject).await;
    output_of_both_streams_arrives_before_the_end(subject).await;
    a_kill_from_outside_has_its_cause_and_keeps_output(subject).await;
    too_much_output_ends_the_program(subject).await;
    value_and_exception_are_reported(subject).await;
    files_are_collected_by_pattern(subject).await;
    an_unknown_image_or_level_never_runs_unnoticed(subject).await;
}

async fn an_exit_code_is_told(subject: &dyn Subject) {
    subject.script(vec![Step::End(ExitFacts::exited(3))]);
    let (exit, _) = run(subject, limits(|_| {}), command(&["/bin/sh", "-c", "exit 3"])).await;
    assert_eq!(exit.facts.main, MainExit::Exited(3));
    assert_eq!(exit.facts.killed, None);
}

async fn output_of_both_streams_arrives_before_the_end(subject: &dyn Subject) {
    subject.script(vec![
        Step::Output(Stdout, b"to out\n".to_vec()),
        Step::Output(Stderr, b"to err\n".to_vec()),
    ]);
    let argv = ["/bin/sh", "-c", "echo to out; echo to err >&2"];
    let (exit, heard) = run(subject, limits(|_| {}), command(&argv)).await;
    assert_eq!(
        (heard.text(Stdout).as_str(), heard.text(Stderr).as_str()),
        ("to out\n", "to err\n")
    );
    assert_eq!((exit.stdout_bytes, exit.stderr_bytes), (7, 7));
}

async fn a_kill_from_outside_has_its_cause_and_keeps_output(subject: &dyn Subject) {
    subject.script(vec![Step::Output(Stdout, b"ready\n".to_vec()), Step::Hang]);
    let heard = Arc::new(Heard::default());
    let mut cell = subject
        .backend()
        .open(&wanted(subject, limits(|_| {})))
        .await
        .unwrap();
    let control = cell.control();
    let running = cell.exec(
        python("print('ready')\nwhile True: pass"),
        Arc::clone(&heard) as Arc<dyn OutputSink>,
    );
    let killing = async {
        heard.until(Stdout, "ready").await;
        control.renew(std::time::Instant::now() + Duration::from_secs(60));
        control.kill(KillCause::Cancelled);
        control.kill(KillCause::WallTime);
    };
    let (exit, ()) = tokio::join!(running, killing);
    let exit = exit.unwrap();
    assert_eq!(exit.facts.killed, Some(KillCause::Cancelled));
    assert!(was_killed(exit.facts.main));
    assert_eq!(heard.text(Stdout), "ready\n");
    cell.destroy().await.unwrap();
}

/// The whole cell may be gone at once, so that nobody saw how the main process ended.
pub fn was_killed(main: MainExit) -> bool {
    matches!(main, MainExit::Signalled(9) | MainExit::Unknown)
}

async fn too_much_output_ends_the_program(subject: &dyn Subject) {
    subject.script(vec![Step::Output(Stdout, vec![b'x'; 200_000]), Step::Hang]);
    let little = limits(|request| request.output_produced = Some(Bytes::kib(100)));
    let (exit, heard) = run(subject, little, python("while True: print('x' * 1000)")).await;
    assert_eq!(exit.facts.killed, Some(KillCause::OutputLimit));
    assert_eq!(heard.text(Stdout).len(), 100 * 1024);
    assert!(exit.stdout_bytes > 100 * 1024);
}

async fn value_and_exception_are_reported(subject: &dyn Subject) {
    let value = ProgramReport {
        value: Some("42".to_owned()),
        exception: None,
    };
    subject.script(vec![Step::Report(value.clone())]);
    let (exit, _) = run(subject, limits(|_| {}), python("6 * 7")).await;
    assert_eq!(exit.report, value);

    let exception = brig_core::outcome::Exception {
        name: "ZeroDivisionError".to_owned(),
        message: "division by zero".to_owned(),
        frames: vec![],
        traceback: String::new(),
    };
    let report = ProgramReport {
        value: None,
        exception: Some(exception),
    };
    subject.script(vec![Step::Report(report), Step::End(ExitFacts::exited(1))]);
    let (exit, _) = run(subject, limits(|_| {}), python("1 / 0")).await;
    let told = exit.report.exception.unwrap();
    assert_eq!(
        (told.name.as_str(), told.message.as_str()),
        ("ZeroDivisionError", "division by zero")
    );
    assert_eq!(exit.facts.main, MainExit::Exited(1));
}

async fn files_are_collected_by_pattern(subject: &dyn Subject) {
    subject.script(vec![
        Step::File("a.txt".to_owned(), b"1".to_vec()),
        Step::File("sub/b.txt".to_owned(), b"22".to_vec()),
        Step::File("c.log".to_owned(), b"333".to_vec()),
    ]);
    let program = "import os\nos.mkdir('sub')\n\
                   for name, data in ('a.txt', '1'), ('sub/b.txt', '22'), ('c.log', '333'):\n    open(name, 'w').write(data)";
    let mut cell = subject
        .backend()
        .open(&wanted(subject, limits(|_| {})))
        .await
        .unwrap();
    let exit = cell
        .exec(python(program), Arc::new(Heard::default()))
        .await
        .unwrap();
    assert_eq!(exit.facts.main, MainExit::Exited(0), "{exit:?}");
    let patterns = [
        OutputPattern::parse("*.txt").unwrap(),
        OutputPattern::parse("sub/*").unwrap(),
    ];
    let mut kept = Kept::default();
    let collected = cell
        .download(&patterns, CollectLimits::default(), &mut kept)
        .await
        .unwrap();
    kept.files.sort();
    assert_eq!(
        kept.files,
        [
            ("a.txt".to_owned(), b"1".to_vec()),
            ("sub/b.txt".to_owned(), b"22".to_vec())
        ]
    );
    assert_eq!(collected.files.len(), 2);
    assert_eq!(collected.skipped, []);
    cell.destroy().await.unwrap();
}

async fn an_unknown_image_or_level_never_runs_unnoticed(subject: &dyn Subject) {
    let mut cell = wanted(subject, limits(|_| {}));
    let opened = subject.backend().open(&cell).await.unwrap();
    assert_eq!(opened.receipt().level, subject.level().word());
    drop(opened);
    if subject.backend().name() != "fake" {
        cell.image = ImageName("no-such-image".to_owned());
        assert!(subject.backend().open(&cell).await.is_err());
    }
}
