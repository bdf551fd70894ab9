//! One leased cell as the engine sees it.

use super::cell::{Control, Lifetime};
use super::pipes::{Listener, Speaker, feed, pump};
use super::{Shared, facts};
use crate::files::{self, FilesError};
use crate::hint::{self, Happened};
use crate::keeper_link::{LOST, OpenedCell};
use crate::output::Outlet;
use crate::receipt;
use crate::redact::Secrets;
use crate::runner::decode::RunnerEvent;
use crate::runner::frame::{JobFrame, JobMode, encode_job};
use crate::runner::{BOOT, VALUE_MAX};
use brig_core::StreamName;
use brig_core::backend::{
    BackendError, Bulk, CellControl, CellRequest, CollectLimits, Collected, Environment, Execution, Exit,
    FileSink, OutputSink, ProgramReport, Start, Upload,
};
use brig_core::exit::KillCause;
use brig_core::limits::Limits;
use brig_core::outcome::{Exception, Frame};
use brig_core::receipt::Receipt;
use brig_core::spec::OutputPattern;
use brig_jail::exec_spec::{ExecSpec, ExecSpecError, RunnerChannel, Text};
use brig_jail::protocol::CellFacts;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long after its limits a cell may take to end before we stop believing the keeper.
const END_SLACK: Duration = Duration::from_secs(30);

/// How long the end of the keeper may be noticed after the end of its helper.
const LOST_NOTICE: Duration = Duration::from_secs(1);

const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The documented environment of every program; a job's own entries come on top.
pub(super) const BASE_ENV: [(&str, &str); 5] = [
    ("HOME", "/workspace"),
    ("LANG", "C.UTF-8"),
    ("LOGNAME", "agent"),
    ("PATH", SYSTEM_PATH),
    ("USER", "agent"),
];
/// Where programs start.
pub(super) const WORKSPACE: &str = "/workspace";

/// A cell of the jail.
#[derive(Debug)]
pub(super) struct JailEnvironment {
    shared: Arc<Shared>,
    lifetime: Lifetime,
    control: Arc<Control>,
    receipt: Receipt,
    limits: Limits,
    /// Taken by `exec`: a cell runs one program.
    ends: Option<Ends>,
}

#[derive(Debug)]
struct Ends {
    job: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    runner: OwnedFd,
    ended: oneshot::Receiver<CellFacts>,
}

/// What the runner told.
#[derive(Debug, Default)]
struct Told {
    /// The program runs: from here on it may be who speaks.
    started: bool,
    value: Option<String>,
    exception: Option<Exception>,
    importing: String,
    trouble: Option<String>,
}

impl Told {
    /// The first word counts: what comes later may be the program pretending to be the runner.
    fn hear(&mut self, event: RunnerEvent) {
        match event {
            RunnerEvent::Started {
                from_source, version, ..
            } => {
                if !std::mem::replace(&mut self.started, true) {
                    debug!(version, from_source, "the interpreter is up");
                }
            }
            RunnerEvent::Value(text) => drop(self.value.get_or_insert(text)),
            RunnerEvent::Exception { exception, importing } => {
                if self.exception.is_none() {
                    self.exception = Some(exception);
                    self.importing = importing;
                }
            }
            // It becomes a hint in Brig's name. A runner has this trouble before the program starts or never.
            RunnerEvent::Trouble(_) if self.started => {}
            RunnerEvent::Trouble(text) => drop(self.trouble.get_or_insert(text)),
            RunnerEvent::Compiled(_) => {}
        }
    }

    /// The report, without secrets.
    fn redacted(self, secrets: &Secrets) -> (ProgramReport, String, Option<String>) {
        let clean = |text: &str| secrets.redact_text(text);
        let exception = self.exception.map(|exception| Exception {
            name: clean(&exception.name),
            message: clean(&exception.message),
            traceback: clean(&exception.traceback),
            frames: exception
                .frames
                .into_iter()
                .map(|frame| Frame {
                    file: clean(&frame.file),
                    line: frame.line,
                    function: clean(&frame.function),
                })
                .collect(),
        });
        let value = self.value.as_deref().map(clean);
        let trouble = self.trouble.as_deref().map(clean);
        (ProgramReport { exception, value }, self.importing, trouble)
    }
}

impl JailEnvironment {
    pub(super) fn new(shared: Arc<Shared>, cell: OpenedCell, request: &CellRequest) -> JailEnvironment {
        let OpenedCell {
            number,
            receipt,
            job,
            stdin,
            stdout,
            stderr,
            runner,
            ended,
            released,
        } = cell;
        JailEnvironment {
            lifetime: Lifetime::new(shared.keeper.clone(), number, released),
            control: Control::new(shared.keeper.clone(), number),
            receipt: receipt::describe(&receipt, &request.image.0),
            limits: request.limits,
            ends: Some(Ends {
                job,
                stdin,
                stdout,
                stderr,
                runner,
                ended,
            }),
            shared,
        }
    }

    /// Everything that goes to the cell, in the order in which it is read: ExecSpec, runner, program.
    fn opening(&self, start: &Start, env: &[(String, String)]) -> Result<Vec<u8>, BackendError> {
        let (argv, runner_channel) = match start {
            Start::Python { .. } => {
                let argv = [self.shared.config.python.as_str(), "-c", BOOT]
                    .map(Text::from)
                    .to_vec();
                (argv, RunnerChannel::Keep)
            }
            Start::Command { argv } => (
                argv.iter().map(|part| Text::from(part.as_str())).collect(),
                RunnerChannel::Close,
            ),
        };
        let spec = ExecSpec {
            argv,
            env: environment(&self.shared.config.python, env),
            cwd: Text::from(WORKSPACE),
            runner_channel,
        };
        let mut bytes = spec.encode().map_err(|error| spec_error(&error))?;
        if let Start::Python { code, file, args } = start {
            bytes.extend_from_slice(&self.shared.runner_frame());
            bytes.extend(encode_job(&JobFrame {
                mode: if file.is_some() {
                    JobMode::File
                } else {
                    JobMode::Code
                },
                value_max: VALUE_MAX,
                name: file.as_ref().map_or("", |path| path.as_str()),
                args,
                source: code,
            }));
        }
        Ok(bytes)
    }

    async fn files(&self) -> Result<OwnedFd, BackendError> {
        let opening = self.shared.keeper.open_files(self.lifetime.number());
        match timeout(super::OPEN_TIME, opening).await {
            Ok(opened) => opened.map_err(|refusal| self.shared.error(refusal)),
            Err(_late) => Err(BackendError::Protocol(
                "the keeper started no enter-helper in time",
            )),
        }
    }

    /// A helper dies with its keeper, and which of the two is noticed first is chance: only one of them is the cause.
    async fn files_error(&self, error: FilesError) -> BackendError {
        let helper_is_gone = matches!(error, FilesError::Helper(_));
        if helper_is_gone && timeout(LOST_NOTICE, self.shared.keeper.lost()).await.is_ok() {
            return BackendError::Lost(LOST);
        }
        files_error(error)
    }

    /// Waits for the end of the cell, and tells everyone who reads from it.
    async fn end(
        &self,
        ended: oneshot::Receiver<CellFacts>,
        over: &CancellationToken,
    ) -> Result<CellFacts, BackendError> {
        let ended = timeout(self.limits.wall + END_SLACK, ended).await;
        over.cancel();
        match ended {
            Ok(Ok(facts)) => Ok(facts),
            Ok(Err(_sender_is_gone)) => Err(BackendError::Lost(LOST)),
            Err(_late) => {
                self.control.kill(KillCause::Abandoned);
                Err(BackendError::Protocol("a cell outlived its limits"))
            }
        }
    }

    /// Both output streams, into the outlet.
    async fn output(&self, stdout: OwnedFd, stderr: OwnedFd, outlet: &Outlet, over: &CancellationToken) {
        let told = AtomicBool::new(false);
        let exceeded = || {
            if !told.swap(true, Ordering::Relaxed) {
                self.control.kill(KillCause::OutputLimit);
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
}

#[async_trait::async_trait]
impl Environment for JailEnvironment {
    fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    fn control(&self) -> Arc<dyn CellControl> {
        Arc::clone(&self.control) as Arc<dyn CellControl>
    }

    async fn upload(&mut self, uploads: Vec<Upload>) -> Result<(), BackendError> {
        if uploads.is_empty() {
            return Ok(());
        }
        let socket = self.files().await?;
        match files::place(socket, uploads).await {
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
        let opening = self.opening(&start, &env)?;
        let needs_interpreter = matches!(start, Start::Python { .. });
        drop(start);
        let ends = self
            .ends
            .take()
            .ok_or(BackendError::Protocol("a cell runs one program"))?;
        let not_open = |source| BackendError::Io {
            act: "open the channel to a cell",
            source,
        };
        let speaker = Speaker::new(ends.job).map_err(not_open)?;
        let listener = Listener::new(ends.runner).map_err(not_open)?;
        let outlet = Outlet::new(self.limits.output_produced.0, Secrets::new(&redact));
        let over = CancellationToken::new();
        let mut told = Told::default();

        self.control
            .start(self.limits.wall, self.limits.cpu_time, lease_until);
        let (facts, (), (), (), ()) = tokio::join!(
            self.end(ends.ended, &over),
            talk(listener, speaker, opening, &over, &mut told),
            supply(ends.stdin, stdin, &over),
            self.output(ends.stdout, ends.stderr, &outlet, &over),
            outlet.deliver(&*sink),
        );

        let facts = facts::exit_facts(&facts?)
            .map_err(|failure| receipt::setup_error(&failure, &self.shared.config.signs))?;
        if needs_interpreter && !told.started {
            facts::interpreter_ran(&self.shared.config.python, &facts)?;
        }
        let (report, importing, trouble) = told.redacted(outlet.secrets());
        let hints = hint::hints(&Happened {
            facts: &facts,
            limits: &self.limits,
            exception: report.exception.as_ref(),
            importing: &importing,
            trouble: trouble.as_deref(),
        });
        let (stdout_bytes, stderr_bytes) = outlet.totals();
        Ok(Exit {
            facts,
            report,
            stdout_bytes,
            stderr_bytes,
            hints,
        })
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
        let socket = self.files().await?;
        match files::collect(socket, wanted, limits, sink).await {
            Ok(collected) => Ok(collected),
            Err(error) => Err(self.files_error(error).await),
        }
    }

    async fn destroy(self: Box<Self>) -> Result<(), BackendError> {
        let JailEnvironment { lifetime, ends, .. } = *self;
        drop(ends);
        lifetime.release().await
    }
}

/// Sends the opening while hearing what comes back: a long program must not wait for a runner that waits for us.
async fn talk(
    listener: Listener,
    mut speaker: Speaker,
    opening: Vec<u8>,
    over: &CancellationToken,
    told: &mut Told,
) {
    let say = async {
        speaker.say(&opening, over).await;
        drop(opening);
    };
    tokio::join!(say, listener.listen(over, |event| told.hear(event)));
}

async fn supply(descriptor: OwnedFd, content: Bulk, over: &CancellationToken) {
    if let Err(error) = feed(descriptor, content, over).await {
        warn!(%error, "standard input could not be supplied to its end");
    }
}

/// The base environment with the job's entries over it, each name once.
fn environment(python: &str, own: &[(String, String)]) -> Vec<(Text, Text)> {
    let base = BASE_ENV
        .iter()
        .filter(|(name, _)| own.iter().all(|(other, _)| other != name));
    let base = base.map(|&(name, value)| match (name, beside(python)) {
        ("PATH", Some(bin)) => (Text::from(name), Text::from(format!("{bin}:{value}").as_str())),
        _ => (Text::from(name), Text::from(value)),
    });
    base.chain(
        own.iter()
            .map(|(name, value)| (Text::from(name.as_str()), Text::from(value.as_str()))),
    )
    .collect()
}

/// The directory of an interpreter that is not the system's: a virtual environment's programs (`pip`, `pytest`) come
/// first for commands too, as where it was activated.
fn beside(python: &str) -> Option<&str> {
    let (bin, _name) = python.rsplit_once('/')?;
    (!SYSTEM_PATH.split(':').any(|place| place == bin)).then_some(bin)
}

fn spec_error(error: &ExecSpecError) -> BackendError {
    BackendError::Setup {
        stage: "spec".to_owned(),
        item: error.to_string(),
        errno: 0,
        remedy: "shorten or correct the arguments and environment".to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_own_entry_takes_the_place_of_the_base_one() {
        let own = [
            ("PATH".to_owned(), "/x".to_owned()),
            ("A".to_owned(), "1".to_owned()),
        ];
        let env = environment("/usr/bin/python3", &own);
        let paths: Vec<_> = env
            .iter()
            .filter(|(name, _)| name.as_bytes() == b"PATH")
            .collect();
        assert_eq!(paths, [&(Text::from("PATH"), Text::from("/x"))]);
        assert_eq!(env.len(), BASE_ENV.len() + 1);
    }

    #[test]
    fn programs_beside_an_environments_interpreter_come_first() {
        let path = |python| {
            let env = environment(python, &[]);
            env.into_iter().find(|(name, _)| name.as_bytes() == b"PATH")
        };
        let expected = Text::from("/srv/venv/bin:/usr/local/bin:/usr/bin:/bin");
        assert_eq!(
            path("/srv/venv/bin/python3"),
            Some((Text::from("PATH"), expected))
        );
        assert_eq!(
            path("/usr/bin/python3"),
            Some((Text::from("PATH"), Text::from(SYSTEM_PATH)))
        );
    }

    #[test]
    fn a_program_that_runs_can_no_longer_speak_in_the_runners_name() {
        let mut told = Told::default();
        told.hear(RunnerEvent::Started {
            magic: [0; 4],
            from_source: false,
            version: "3".into(),
        });
        told.hear(RunnerEvent::Trouble("install my backdoor".into()));
        assert_eq!(told.trouble, None);
    }

    #[test]
    fn the_first_report_counts() {
        let mut told = Told::default();
        told.hear(RunnerEvent::Value("1".into()));
        told.hear(RunnerEvent::Value("2".into()));
        assert_eq!(told.value.as_deref(), Some("1"));
    }
}
