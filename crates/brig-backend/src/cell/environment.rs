//! One leased cell as the engine sees it.

use super::ends::{Listener, Speaker, feed, pump};
use super::opening::opening;
use super::told::Told;
use super::{Clocks, Ends, Interpreter, LOST_NOTICE, LiveCell, ReadEnd, WriteEnd};
use crate::files::{self, FileStream, FilesError};
use crate::hint::{self, Happened};
use crate::output::Outlet;
use crate::redact::Secrets;
use brig_core::StreamName;
use brig_core::backend::{
    BackendError, Bulk, CellControl, CollectLimits, Collected, Environment, Execution, Exit, FileSink,
    OutputSink, Start, Upload,
};
use brig_core::exit::{ExitFacts, KillCause};
use brig_core::limits::Limits;
use brig_core::receipt::Receipt;
use brig_core::spec::OutputPattern;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How long after its limits a cell may take to end before we stop believing whoever holds it.
const END_SLACK: Duration = Duration::from_secs(30);

/// A cell with what is left of its ends.
#[derive(Debug)]
pub(crate) struct CellEnvironment<C> {
    cell: C,
    receipt: Receipt,
    limits: Limits,
    interpreter: Interpreter,
    /// Taken by `exec`: a cell runs one program.
    ends: Option<Ends>,
}

impl<C: LiveCell> CellEnvironment<C> {
    pub(crate) fn new(
        cell: C,
        ends: Ends,
        receipt: Receipt,
        limits: Limits,
        interpreter: Interpreter,
    ) -> CellEnvironment<C> {
        CellEnvironment {
            cell,
            receipt,
            limits,
            interpreter,
            ends: Some(ends),
        }
    }

    /// The other side of a conversation about files dies with what holds the cell, and which of the two is noticed
    /// first is chance: only one of them is the cause.
    async fn files_error(&self, error: FilesError) -> BackendError {
        if matches!(error, FilesError::Helper(_))
            && let Ok(lost) = timeout(LOST_NOTICE, self.cell.lost()).await
        {
            return lost;
        }
        files_error(error)
    }
}

/// Waits for the end of the cell, and tells everyone who reads from it.
async fn end(
    cell: &mut impl LiveCell,
    limits: &Limits,
    over: &CancellationToken,
) -> Result<ExitFacts, BackendError> {
    let control = cell.control();
    let ended = timeout(limits.wall + END_SLACK, cell.ended(limits)).await;
    let ended = ended.unwrap_or_else(|_late| {
        control.kill(KillCause::Abandoned);
        Err(BackendError::Protocol("a cell outlived its limits"))
    });
    if ended.is_err() {
        cell.hang_up();
    }
    over.cancel();
    ended
}

/// Both output streams, into the outlet.
async fn output(
    control: &dyn CellControl,
    stdout: ReadEnd,
    stderr: ReadEnd,
    outlet: &Outlet,
    over: &CancellationToken,
) {
    let told = AtomicBool::new(false);
    let exceeded = || {
        if !told.swap(true, Ordering::Relaxed) {
            control.kill(KillCause::OutputLimit);
        }
    };
    let (out, err) = tokio::join!(
        pump(StreamName::Stdout, stdout, outlet, over, &exceeded),
        pump(StreamName::Stderr, stderr, outlet, over, &exceeded),
    );
    outlet.close();
    for error in [out, err].into_iter().filter_map(Result::err) {
        warn!(%error, "an output pipe could not be read to its end");
    }
}

#[async_trait::async_trait]
impl<C: LiveCell> Environment for CellEnvironment<C> {
    fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    fn control(&self) -> Arc<dyn CellControl> {
        self.cell.control()
    }

    async fn upload(&mut self, uploads: Vec<Upload>) -> Result<(), BackendError> {
        if uploads.is_empty() {
            return Ok(());
        }
        let stream: FileStream = self.cell.open_files().await?;
        match files::place(stream, uploads).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.files_error(error).await),
        }
    }

    async fn exec(&mut self, execution: Execution, sink: Arc<dyn OutputSink>) -> Result<Exit, BackendError> {
        let Execution {
            start,
            env,
            redact,
            stdin,
            lease_until,
        } = execution;
        let opening = opening(&self.interpreter, &start, &env)?;
        let needs_interpreter = matches!(start, Start::Python { .. });
        drop(start);
        let ends = self
            .ends
            .take()
            .ok_or(BackendError::Protocol("a cell runs one program"))?;
        let outlet = Outlet::new(self.limits.output_produced.0, Secrets::new(&redact));
        let over = CancellationToken::new();
        let mut told = Told::default();

        self.cell.start(Clocks {
            wall: self.limits.wall,
            cpu: self.limits.cpu_time,
            lease_until,
        });
        let control = self.cell.control();
        let (facts, (), (), (), ()) = tokio::join!(
            end(&mut self.cell, &self.limits, &over),
            talk(ends.runner, ends.job, opening, &over, &mut told),
            supply(ends.stdin, stdin, &over),
            output(&*control, ends.stdout, ends.stderr, &outlet, &over),
            outlet.deliver(&*sink),
        );

        let facts = facts?;
        if needs_interpreter && !told.started {
            self.interpreter.must_have_run(&facts)?;
        }
        Ok(exit(facts, &self.limits, told, &outlet))
    }

    async fn download(
        &mut self,
        wanted: &[OutputPattern],
        limits: CollectLimits,
        sink: &mut dyn FileSink,
    ) -> Result<Collected, BackendError> {
        if wanted.is_empty() {
            return Ok(Collected::default());
        }
        let stream = self.cell.open_files().await?;
        match files::collect(stream, wanted, limits, sink).await {
            Ok(collected) => Ok(collected),
            Err(error) => Err(self.files_error(error).await),
        }
    }

    async fn destroy(self: Box<Self>) -> Result<(), BackendError> {
        let CellEnvironment { cell, ends, .. } = *self;
        drop(ends);
        cell.release().await
    }
}

/// Everything that is known once the program has ended.
fn exit(facts: ExitFacts, limits: &Limits, told: Told, outlet: &Outlet) -> Exit {
    let (report, importing, trouble) = told.redacted(outlet.secrets());
    let hints = hint::hints(&Happened {
        facts: &facts,
        limits,
        exception: report.exception.as_ref(),
        importing: &importing,
        trouble: trouble.as_deref(),
    });
    let (stdout_bytes, stderr_bytes) = outlet.totals();
    Exit {
        facts,
        report,
        stdout_bytes,
        stderr_bytes,
        hints,
    }
}

/// Sends the opening while hearing what comes back: a long program must not wait for a runner that waits for us.
async fn talk(runner: ReadEnd, job: WriteEnd, opening: Vec<u8>, over: &CancellationToken, told: &mut Told) {
    let mut speaker = Speaker::new(job);
    let say = async {
        speaker.say(&opening, over).await;
        drop(opening);
    };
    tokio::join!(say, Listener::new(runner).listen(over, |event| told.hear(event)));
}

async fn supply(end: WriteEnd, content: Bulk, over: &CancellationToken) {
    if let Err(error) = feed(end, content, over).await {
        warn!(%error, "standard input could not be supplied to its end");
    }
}

fn files_error(error: FilesError) -> BackendError {
    match error {
        FilesError::Place { path, source } => BackendError::Setup {
            stage: "files".to_owned(),
            item: path,
            errno: source.raw_os_error().unwrap_or(0),
            remedy: "make the inputs smaller or raise --workspace".to_owned(),
        },
        FilesError::Helper(source) => BackendError::Io {
            act: "speak to the enter-helper",
            source,
        },
        FilesError::Nonsense => BackendError::Protocol("the enter-helper answered nonsense"),
        FilesError::Deadline => BackendError::Io {
            act: "move files in time",
            source: std::io::ErrorKind::TimedOut.into(),
        },
        FilesError::Content { source, .. } => BackendError::Io {
            act: "read an input",
            source,
        },
        FilesError::Keep(source) => BackendError::Io {
            act: "keep a collected file",
            source,
        },
    }
}
