//! Runs of one check: `brig run --json` in the mode of the bench, or the same program outside every wall.

use crate::assert::{CLEAN_WITHIN, Surroundings, no_more_than, nothing_is_left};
use crate::daemon::Daemon;
use crate::modes::{Mode, Reach};
use crate::process::{self, Decoy, Running};
use crate::seen::Seen;
use crate::stage::Stage;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// No run of the corpus takes longer, whatever its own limits.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a check works with.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The mode.
    pub mode: Mode,
    /// Copies of everything.
    pub stage: Arc<Stage>,
    /// The daemon of a served mode, and what it keeps when no job runs.
    pub daemon: Option<(Arc<Daemon>, Surroundings)>,
}

/// One run, being put together.
#[derive(Debug)]
pub struct Run<'a> {
    bench: &'a Bench,
    options: Vec<String>,
    what: Vec<String>,
    stdin: Vec<u8>,
    env: Vec<(String, String)>,
    without: Vec<String>,
    build: Build,
}

/// Which build of `brig` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    Shipped,
    ControlArms,
}

/// A run that was started.
#[derive(Debug)]
pub struct Started<'a> {
    bench: &'a Bench,
    running: Running,
    before: Surroundings,
    temporary: tempfile::TempDir,
    sent_stdin: bool,
}

impl Bench {
    /// A bench; a served mode gets a daemon that has run its first job.
    ///
    /// # Errors
    /// When the daemon does not come up or cannot run a job.
    pub fn set_up(stage: Arc<Stage>, mode: Mode) -> Result<Self> {
        let bench = Self {
            mode,
            stage,
            daemon: None,
        };
        match mode.reach {
            Reach::Embedded => Ok(bench),
            Reach::Served => bench.served_with(""),
        }
    }

    /// The same bench with a daemon of this configuration.
    ///
    /// # Errors
    /// As [`Bench::set_up`].
    pub fn served_with(mut self, config: &str) -> Result<Self> {
        let config = self.mode.cells.config(config)?;
        let daemon = Arc::new(Daemon::start_with(&self.stage, self.mode, &config)?);
        let empty = Surroundings::look(&self.stage.brig, self.mode);
        self.daemon = Some((Arc::clone(&daemon), empty));
        self.code("print('warm')").start()?.report()?;
        let idle = Surroundings::at_most(&self.stage.brig, self.mode, CLEAN_WITHIN);
        self.daemon = Some((daemon, idle));
        Ok(self)
    }

    /// A program of `tests/programs`, with the module in which it says what it saw.
    #[must_use]
    pub fn program(&self, name: &str) -> Run<'_> {
        let verdicts = self.stage.path("programs/verdicts.py").display().to_string();
        let path = self.stage.path("programs").join(name).display().to_string();
        self.run(vec!["--in".into(), verdicts], vec![path])
    }

    /// A Python file, by itself.
    #[must_use]
    pub fn file(&self, path: &str) -> Run<'_> {
        self.run(Vec::new(), vec![path.to_owned()])
    }

    /// A Python program given as text.
    #[must_use]
    pub fn code(&self, code: &str) -> Run<'_> {
        self.run(Vec::new(), vec!["-c".into(), code.into()])
    }

    /// A command.
    #[must_use]
    pub fn command(&self, argv: &[&str]) -> Run<'_> {
        let mut what = vec!["--".to_owned()];
        what.extend(argv.iter().map(|&argument| argument.to_owned()));
        self.run(Vec::new(), what)
    }

    /// Anything that `brig run` takes.
    #[must_use]
    pub fn run(&self, options: Vec<String>, what: Vec<String>) -> Run<'_> {
        Run {
            bench: self,
            options,
            what,
            stdin: Vec::new(),
            env: Vec::new(),
            without: Vec::new(),
            build: Build::Shipped,
        }
    }

    /// The same kind of program outside every wall, as the harness's own user: the control arm.
    ///
    /// # Errors
    /// When it does not end.
    pub fn outside(&self, program: &str, arguments: &[&str]) -> Result<Seen> {
        self.outside_of(process::command("/usr/bin/python3"), program, arguments)
    }

    /// Outside, as root, in mount, uts, ipc and pid namespaces of its own: for attempts whose success would
    /// change the machine.
    ///
    /// # Errors
    /// When it does not end.
    pub fn unshared(&self, program: &str, arguments: &[&str]) -> Result<Seen> {
        let mut command = process::command("unshare");
        command.args([
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--mount-proc",
            "/usr/bin/python3",
        ]);
        self.outside_of(command, program, arguments)
    }

    /// Outside, by this command: the program is its last argument but for its own.
    ///
    /// # Errors
    /// When it does not end.
    pub fn outside_by(&self, command: &[&str], program: &str, arguments: &[&str]) -> Result<Seen> {
        let (first, rest) = command.split_first().context("no command")?;
        let mut command = process::command(first);
        command.args(rest);
        self.outside_of(command, program, arguments)
    }

    fn outside_of(&self, mut command: Command, program: &str, arguments: &[&str]) -> Result<Seen> {
        let directory = tempfile::tempdir()?;
        command
            .arg(self.stage.path("programs").join(program))
            .args(arguments);
        command
            .current_dir(directory.path())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(Seen::from_outside(&process::run(command, Vec::new(), PATIENCE)?))
    }

    /// A process of the mode's user, outside every cell.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn decoy(&self) -> Result<Decoy> {
        let mut command = self.mode.command(&PathBuf::from("/usr/bin/sleep"));
        command.arg("600");
        let decoy = Decoy::start(command)?;
        // It is there when it has become `sleep`: before that it may still be the shell that drops its power.
        let pid = decoy.pid();
        let ready = process::wait_until(Duration::from_secs(5), || {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep")
        });
        ensure!(ready, "the decoy did not start");
        Ok(decoy)
    }

    /// A number that no other run uses, to know its processes by.
    #[must_use]
    pub fn marker(&self) -> String {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!(
            "{}{:04}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        )
    }
}

impl<'a> Run<'a> {
    /// Options of `brig run`.
    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options
            .extend(options.iter().map(|&option| option.to_owned()));
        self
    }

    /// A wall-clock limit that is not meant to be reached, on a slow machine either.
    #[must_use]
    pub fn time_enough(self, seconds: u64) -> Self {
        // No job may ask for more than five minutes.
        let limit = crate::slack::stretched(Duration::from_secs(seconds)).min(Duration::from_secs(300));
        self.options(&["--timeout", &format!("{}s", limit.as_secs())])
    }

    /// Arguments of the program.
    #[must_use]
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.what
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Its standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self.options(&["--stdin", "-"])
    }

    /// A variable in the environment of `brig` itself (not of the program).
    #[must_use]
    pub fn host_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Turns layers off; only a program built with control arms obeys.
    #[must_use]
    pub fn without(mut self, layers: &[&'static str]) -> Self {
        self.without.extend(layers.iter().map(|&layer| layer.to_owned()));
        self.build = Build::ControlArms;
        self
    }

    /// Takes a rule off the list of system calls (none: the whole list, in the same build).
    #[must_use]
    pub fn without_rule(mut self, rule: Option<&str>) -> Self {
        self.without
            .extend(rule.map(|name| format!("without-rule:{name}")));
        self.build = Build::ControlArms;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self) -> Result<Started<'a>> {
        let bench = self.bench;
        let temporary = bench.stage.directory(bench.mode)?;
        let brig = match (&bench.stage.arms, self.build) {
            (_, Build::Shipped) => &bench.stage.brig,
            (Some(arms), Build::ControlArms) => arms,
            (None, Build::ControlArms) => {
                return Err(crate::skip::Skip::because("not built with control arms").into());
            }
        };
        let mut command = bench.mode.command(brig);
        command.current_dir(temporary.path()).arg("run").arg("--json");
        match &bench.daemon {
            Some((daemon, _)) => command.arg("--address").arg(daemon.address()),
            None => command.arg("--embedded"),
        };
        command
            .env("HOME", temporary.path())
            .env("TMPDIR", temporary.path());
        command.env("XDG_RUNTIME_DIR", temporary.path());
        if !self.without.is_empty() {
            command.env("BRIG_CONTROL_ARM", self.without.join(","));
        }
        command.args(bench.mode.cells.options());
        command.envs(self.env).args(&self.options).args(&self.what);
        let before = Surroundings::look(brig, bench.mode);
        let sent_stdin = !self.stdin.is_empty();
        let running = process::start(command, self.stdin)?;
        Ok(Started {
            bench,
            running,
            before,
            temporary,
            sent_stdin,
        })
    }

    /// Runs it to its end and asserts that nothing is left behind.
    ///
    /// # Errors
    /// When it does not end, prints no report or leaves something.
    pub fn go(self) -> Result<Seen> {
        self.start()?.finish()
    }
}

impl Started<'_> {
    /// The process of `brig run`.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Waits for the report, then asserts that nothing is left behind.
    ///
    /// # Errors
    /// As [`Run::go`].
    pub fn finish(self) -> Result<Seen> {
        let bench = self.bench;
        let sent = self.sent_stdin;
        let done = self
            .running
            .finish(PATIENCE)
            .with_context(|| format!("stdin sent: {sent}"))?;
        let seen = Seen::from_run(&done)?;
        match &bench.daemon {
            None => nothing_is_left(&bench.stage.brig, bench.mode, &self.before),
            Some((_, idle)) => no_more_than(&bench.stage.brig, bench.mode, idle),
        }
        .with_context(|| seen.told())?;
        let left: Vec<_> = std::fs::read_dir(self.temporary.path())?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        ensure!(
            left.is_empty(),
            "temporary files are left: {left:?}{}",
            seen.told()
        );
        Ok(seen)
    }

    /// Waits for the end without looking at what else runs: for several at once.
    ///
    /// # Errors
    /// When it does not end or prints no report.
    pub fn report(self) -> Result<Seen> {
        self.report_within(PATIENCE)
    }

    /// [`Started::report`] for a program that takes longer than one of the corpus.
    ///
    /// # Errors
    /// As [`Started::report`].
    pub fn report_within(self, limit: Duration) -> Result<Seen> {
        Seen::from_run(&self.running.finish(limit)?)
    }
}
