//! A scripted backend: tests of the engine say what a cell does, step by step, and see what was done to it.
//!
//! A script without [`Step::Until`] runs through at once. Kills are honoured wherever a script waits, as the jail
//! would: the program ends by SIGKILL, with the first cause.

use async_trait::async_trait;
use brig_core::StreamName;
use brig_core::backend::{
    Backend, BackendError, BackendOffer, CellControl, CellRequest, CollectLimits, Collected, Environment,
    Execution, Exit, FileSink, HostReport, ImageOffer, OutputPiece, OutputSink, ProgramReport, Start, Upload,
};
use brig_core::exit::{ExitFacts, KillCause, MainExit};
use brig_core::outcome::CollectedFile;
use brig_core::receipt::Receipt;
use brig_core::spec::{BackendName, ImageName, IsolationLevel, OutputPattern};
use brig_jail::files::GlobSet;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// One thing that a scripted program does.
#[derive(Debug, Clone)]
pub enum Step {
    /// Writes.
    Output(StreamName, Vec<u8>),
    /// Waits until the test cancels this token, or for a kill.
    Until(CancellationToken),
    /// Waits for a kill.
    Hang,
    /// Tells something of itself.
    Report(ProgramReport),
    /// Leaves a file behind.
    File(String, Vec<u8>),
    /// Ends like this. Without it a script ends with exit code 0.
    End(ExitFacts),
    /// The keeper is lost.
    Lose,
}

/// What was done to the backend, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A cell was opened.
    Opened,
    /// Files were placed.
    Uploaded(Vec<String>),
    /// A program was started.
    Started(Start),
    /// The lease was renewed.
    Renewed(Instant),
    /// A kill, also one that came too late.
    Killed(KillCause),
    /// Files were collected.
    Downloaded,
    /// The cell was destroyed, or dropped.
    Destroyed,
}

/// The backend. Clones share scripts and record.
#[derive(Debug, Clone)]
pub struct FakeBackend {
    name: BackendName,
    shared: Arc<Mutex<Record>>,
}

impl Default for FakeBackend {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Default)]
struct Record {
    scripts: VecDeque<Vec<Step>>,
    refusals: VecDeque<BackendError>,
    seen: Vec<Seen>,
    open: usize,
    most_open: usize,
}

impl FakeBackend {
    /// A backend whose programs all exit with code 0.
    #[must_use]
    pub fn new() -> Self {
        Self::named("fake")
    }

    /// The same under another name, for whoever has several.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: BackendName(name.to_owned()),
            shared: Arc::default(),
        }
    }

    /// The next cell that has no script yet does this.
    pub fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.record().scripts.push_back(steps.into_iter().collect());
    }

    /// The next `open` fails.
    pub fn refuse(&self, error: BackendError) {
        self.record().refusals.push_back(error);
    }

    /// What was done so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.record().seen.clone()
    }

    /// Cells that are open now, and the most that ever were at once.
    #[must_use]
    pub fn open_cells(&self) -> (usize, usize) {
        let record = self.record();
        (record.open, record.most_open)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, seen: Seen) {
        self.record().seen.push(seen);
    }
}

fn receipt(level: IsolationLevel) -> Receipt {
    Receipt {
        backend: "fake".to_owned(),
        level: level.word().to_owned(),
        image: "host".to_owned(),
        cell: "on_demand".to_owned(),
        layers: Vec::new(),
    }
}

#[async_trait]
impl Backend for FakeBackend {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn offers(&self) -> Vec<BackendOffer> {
        vec![BackendOffer {
            name: self.name.clone(),
            default_image: ImageName::host(),
            images: vec![ImageOffer::host()],
            trouble: None,
        }]
    }

    async fn probe(&self) -> Result<HostReport, BackendError> {
        let levels = vec![
            (IsolationLevel::Strict, None),
            (IsolationLevel::Workstation, None),
        ];
        Ok(HostReport {
            receipt: receipt(IsolationLevel::Strict),
            levels,
        })
    }

    async fn open(&self, request: &CellRequest) -> Result<Box<dyn Environment>, BackendError> {
        let mut record = self.record();
        if let Some(error) = record.refusals.pop_front() {
            return Err(error);
        }
        let script = record.scripts.pop_front().unwrap_or_default();
        record.seen.push(Seen::Opened);
        record.open += 1;
        record.most_open = record.most_open.max(record.open);
        drop(record);
        Ok(Box::new(FakeEnvironment {
            backend: self.clone(),
            control: Arc::new(FakeControl {
                backend: self.clone(),
                cause: Mutex::default(),
                killed: CancellationToken::new(),
            }),
            receipt: receipt(request.isolation),
            script,
            files: Vec::new(),
            output_most: request.limits.output_produced.0,
        }))
    }
}

#[derive(Debug)]
struct FakeControl {
    backend: FakeBackend,
    cause: Mutex<Option<KillCause>>,
    killed: CancellationToken,
}

impl FakeControl {
    fn cause(&self) -> Option<KillCause> {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CellControl for FakeControl {
    fn kill(&self, cause: KillCause) {
        self.backend.see(Seen::Killed(cause));
        self.cause
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(cause);
        self.killed.cancel();
    }

    fn renew(&self, lease_until: Instant) {
        self.backend.see(Seen::Renewed(lease_until));
    }
}

#[derive(Debug)]
struct FakeEnvironment {
    backend: FakeBackend,
    control: Arc<FakeControl>,
    receipt: Receipt,
    script: Vec<Step>,
    files: Vec<(String, Vec<u8>)>,
    output_most: u64,
}

/// What a script has come to so far.
struct Running {
    exit: Exit,
    produced: u64,
}

impl Running {
    fn new() -> Self {
        let exit = Exit {
            facts: ExitFacts::exited(0),
            report: ProgramReport::default(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            hints: Vec::new(),
        };
        Self { exit, produced: 0 }
    }

    /// Ended by SIGKILL for the first cause.
    fn killed(&mut self, cause: Option<KillCause>) {
        self.exit.facts.main = MainExit::Signalled(9);
        self.exit.facts.killed = cause;
    }

    fn count(&mut self, stream: StreamName, data: &[u8]) {
        let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.produced += bytes;
        match stream {
            StreamName::Stdout => self.exit.stdout_bytes += bytes,
            StreamName::Stderr => self.exit.stderr_bytes += bytes,
        }
    }
}

/// Whether the script goes on after a step.
enum Next {
    Step,
    End,
}

impl FakeEnvironment {
    async fn step(
        &mut self,
        step: Step,
        run: &mut Running,
        output: &dyn OutputSink,
    ) -> Result<Next, BackendError> {
        match step {
            Step::Output(stream, data) => {
                run.count(stream, &data);
                let excess =
                    usize::try_from(run.produced.saturating_sub(self.output_most)).unwrap_or(usize::MAX);
                let kept = data.len().saturating_sub(excess);
                output
                    .output(OutputPiece {
                        stream,
                        data: data[..kept].to_vec(),
                    })
                    .await;
                if excess > 0 {
                    run.killed(Some(KillCause::OutputLimit));
                    return Ok(Next::End);
                }
            }
            Step::Until(token) => {
                tokio::select! {
                    biased;
                    () = self.control.killed.cancelled() => {
                        run.killed(self.control.cause());
                        return Ok(Next::End);
                    }
                    () = token.cancelled() => {}
                }
            }
            Step::Hang => {
                self.control.killed.cancelled().await;
                run.killed(self.control.cause());
                return Ok(Next::End);
            }
            Step::Report(report) => run.exit.report = report,
            Step::File(path, content) => self.files.push((path, content)),
            Step::End(facts) => {
                run.exit.facts = facts;
                return Ok(Next::End);
            }
            Step::Lose => return Err(BackendError::Lost("the keeper")),
        }
        Ok(Next::Step)
    }
}

impl Drop for FakeEnvironment {
    fn drop(&mut self) {
        let mut record = self.backend.record();
        record.open -= 1;
        record.seen.push(Seen::Destroyed);
    }
}

#[async_trait]
impl Environment for FakeEnvironment {
    fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    fn control(&self) -> Arc<dyn CellControl> {
        Arc::clone(&self.control) as Arc<dyn CellControl>
    }

    async fn upload(&mut self, files: Vec<Upload>) -> Result<(), BackendError> {
        self.backend.see(Seen::Uploaded(
            files.iter().map(|file| file.path.to_string()).collect(),
        ));
        Ok(())
    }

    async fn exec(
        &mut self,
        execution: Execution,
        output: Arc<dyn OutputSink>,
    ) -> Result<Exit, BackendError> {
        self.backend.see(Seen::Started(execution.start));
        let mut run = Running::new();
        for step in std::mem::take(&mut self.script) {
            if let Next::End = self.step(step, &mut run, &*output).await? {
                break;
            }
        }
        Ok(run.exit)
    }

    async fn download(
        &mut self,
        wanted: &[OutputPattern],
        limits: CollectLimits,
        sink: &mut dyn FileSink,
    ) -> Result<Collected, BackendError> {
        self.backend.see(Seen::Downloaded);
        let keep = |source| BackendError::Io {
            act: "keep a collected file",
            source,
        };
        let mut collected = Collected::default();
        let most = usize::try_from(limits.files).unwrap_or(usize::MAX);
        let patterns: Vec<Vec<u8>> = wanted
            .iter()
            .map(|pattern| pattern.as_str().as_bytes().to_vec())
            .collect();
        let globs =
            GlobSet::new(&patterns).map_err(|_invalid| BackendError::Protocol("an invalid pattern"))?;
        let matches = |path: &str| {
            let end = path
                .split('/')
                .fold(globs.start(), |state, name| globs.step(&state, name.as_bytes()));
            globs.matches(&end)
        };
        for (path, content) in self.files.iter().filter(|(path, _)| matches(path)).take(most) {
            sink.begin(path).await.map_err(keep)?;
            sink.data(content).await.map_err(keep)?;
            let file = sink.end().await.map_err(keep)?;
            let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
            collected.files.push(CollectedFile {
                path: path.clone(),
                file,
                size,
            });
        }
        Ok(collected)
    }

    async fn destroy(self: Box<Self>) -> Result<(), BackendError> {
        Ok(())
    }
}
