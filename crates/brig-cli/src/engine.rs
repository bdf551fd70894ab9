//! The engine of a command: a daemon at an address, or one of its own. Its own is the same thing as a daemon, only
//! smaller: the keeper is a child of this process, the store is temporary, and the wire is a pipe in memory.

use crate::abandoned;
use crate::broker_process;
use crate::connect::{Place, is_root};
use crate::engine_check::docker_of;
use crate::helper::KEEPER;
use crate::job_options::UsageError;
use crate::keeper_config::{self, Prewarm};
use crate::parts::{self, Means};
use crate::remote::Remote;
use crate::terminal::say;
use anyhow::Context;
use brig_api::client::Address;
use brig_backend::docker::examine::cannot_open;
use brig_core::spec::{BackendName, IsolationLevel, JobDraft};
use brig_daemon::{Config, DockerConfig, Embedded};
use brig_jail::embedded::{spawn_broker, spawn_keeper};
use brig_jail::keeper;
use brig_jail::protocol::Level;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::IsTerminal;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How long a keeper or a broker may take to end what is left. The cells of one job are gone in milliseconds, a container in a
/// fraction of a second; an engine that hangs is given up by the broker before that.
const HELPER_END: Duration = Duration::from_secs(25);

/// Where the command's jobs run.
#[derive(Debug)]
pub(crate) enum Engine {
    /// At a daemon.
    Daemon(Address),
    /// Here.
    Embedded(Box<Own>),
}

/// An engine of this process.
#[derive(Debug)]
pub(crate) struct Own {
    config: Config,
    means: Option<Means>,
    helper: Child,
    daemon: Option<Embedded>,
    /// The temporary store; removed in the end.
    data: Option<PathBuf>,
}

impl Engine {
    /// Starts the keeper, where one is needed. Must be called before there are threads: the sooner the keeper runs,
    /// the sooner it builds the first cell, while this process does everything else.
    pub(crate) fn prepare(place: &Place, expected: Option<&JobDraft>) -> anyhow::Result<Self> {
        match place {
            Place::Daemon(address) => Ok(Self::Daemon(address.clone())),
            Place::Embedded => Ok(Self::Embedded(Box::new(Own::prepare(expected)?))),
        }
    }

    /// Whether it runs in this process.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }

    /// Connects.
    pub(crate) async fn remote(&mut self) -> anyhow::Result<Remote> {
        match self {
            Self::Daemon(address) => Remote::connect(address).await,
            Self::Embedded(own) => own.start().await,
        }
    }

    /// Ends what was started, and waits until nothing of it is left.
    pub(crate) async fn stop(self) {
        match self {
            Self::Daemon(_) => {}
            Self::Embedded(own) => own.stop().await,
        }
    }
}

impl Own {
    fn prepare(expected: Option<&JobDraft>) -> anyhow::Result<Self> {
        let config = embedded_config()?;
        let backend = expected.and_then(|draft| draft.backend.as_ref());
        match backend.filter(|name| **name != BackendName::jail()) {
            None => Self::with_keeper(config, expected),
            Some(name) => Self::with_broker(config, name),
        }
    }

    fn with_keeper(config: Config, expected: Option<&JobDraft>) -> anyhow::Result<Self> {
        let mut keeper = keeper_config::of(&config, Prewarm::for_draft(&config, expected));
        keeper::check_host_image(&keeper.host_image).context("images.host in the file of BRIG_CONFIG")?;
        // One job: the cell that it runs in is all that is needed.
        keeper.spares = 0;
        // Whoever types the command also decides.
        keeper.minimum_level = Level::Workstation;
        keeper.instance = instance();
        let settings = serde_json::to_string(&keeper).context("cannot describe the keeper")?;
        let (link, keeper) =
            spawn_keeper(program(), [KEEPER, &settings]).context("cannot start the keeper")?;
        Ok(Self::new(config, Means::Jail(link), keeper))
    }

    /// No keeper: the job names its backend, and it is not the jail.
    fn with_broker(mut config: Config, backend: &BackendName) -> anyhow::Result<Self> {
        let mut docker = docker_of(&config);
        if !docker.runtimes.contains_key(backend.as_str()) {
            let names: Vec<&str> = docker.runtimes.keys().map(String::as_str).collect();
            return Err(UsageError::new(format!(
                "--backend {backend}: there is no such backend; here are: jail, {}. Others are named in the file of BRIG_CONFIG: \
                 [docker.backends.{backend}]",
                names.join(", ")
            ))
            .into());
        }
        reachable(&docker)?;
        // One job: nobody comes after it.
        docker.warm = 0;
        let broker = broker_process::config_of(&config, &docker, instance())?;
        config.docker = Some(docker);
        let words = broker_process::words(&broker)?;
        let (socket, helper) = spawn_broker(program(), words).context("cannot start the engine broker")?;
        Ok(Self::new(config, Means::Docker(socket), helper))
    }

    fn new(config: Config, means: Means, helper: Child) -> Self {
        Self {
            config,
            means: Some(means),
            helper,
            daemon: None,
            data: None,
        }
    }

    async fn start(&mut self) -> anyhow::Result<Remote> {
        log_errors();
        let means = self.means.take().context("the engine was started before")?;
        let (parts, data) = parts::embedded(&self.config, means).await?;
        self.config.data.clone_from(&data);
        self.data = Some(data);
        let (daemon, stream) = brig_daemon::embedded(self.config.clone(), parts);
        self.daemon = Some(daemon);
        Remote::embedded(stream).await
    }

    async fn stop(self) {
        let Self {
            config: _,
            means,
            helper,
            daemon,
            data,
        } = self;
        // Whoever wanted a job's end has it: what still runs was given up.
        if let Some(daemon) = daemon {
            daemon.shutdown().stop_now();
            if let Err(error) = daemon.stop().await {
                say(format!("the engine did not end well: {error}"));
            }
        }
        // Keeper or broker end when their socket is closed; they kill what is left first.
        drop(means);
        end_helper(helper).await;
        // The store removes its directory itself, unless a task that was given up still holds it.
        match data.map(std::fs::remove_dir_all) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                say(format!("cannot remove the temporary directory: {error}"));
            }
            Some(_) | None => {}
        }
        abandoned::remove(&std::env::temp_dir());
    }
}

/// A fault of the engine is told with an id to look for: here it is.
fn log_errors() {
    let filter = EnvFilter::try_from_env("BRIG_LOG").unwrap_or_else(|_unset| EnvFilter::new("error"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // The first call wins, and this is the only one.
    lines.with_ansi(std::io::stderr().is_terminal()).try_init().ok();
}

/// This very file.
fn program() -> &'static Path {
    Path::new("/proc/self/exe")
}

fn instance() -> String {
    format!("run-{}", uuid::Uuid::now_v7().as_simple())
}

/// Told before anything is started, and in the words of `brig doctor`: the broker could only say it of a cell.
fn reachable(docker: &DockerConfig) -> anyhow::Result<()> {
    UnixStream::connect(&docker.socket).map(drop).map_err(|error| {
        let finding = cannot_open(&docker.socket, &error);
        anyhow::anyhow!("{}: {}", finding.detail, finding.remedy)
    })
}

/// Waits for the end of the keeper or the broker; one that is stuck is killed, and the cells die with it.
async fn end_helper(mut helper: Child) {
    let pid = i32::try_from(helper.id()).map(Pid::from_raw);
    let mut waiting = tokio::task::spawn_blocking(move || helper.wait());
    if tokio::time::timeout(HELPER_END, &mut waiting).await.is_ok() {
        return;
    }
    say("what was started for this job did not end and is killed");
    if let Ok(pid) = pid {
        // A process group of its own: a broker's worker goes with it.
        killpg(pid, Signal::SIGKILL).ok();
    }
    drop(waiting.await);
}

/// The configuration of an embedded engine: what `BRIG_CONFIG` names, with what makes it embedded.
pub(crate) fn embedded_config() -> anyhow::Result<Config> {
    let base = if is_root() {
        Config::default()
    } else {
        // Every machine gives this level, and the user is told what it lacks.
        Config {
            isolation: IsolationLevel::Workstation,
            ..Config::default()
        }
    };
    let mut config = match std::env::var_os("BRIG_CONFIG").map(PathBuf::from) {
        Some(path) => Config::load_over(base, &path)?,
        None => base,
    };
    config.listen.clear();
    config.metrics = None;
    Ok(config)
}

/// What tells a command to stop: Ctrl-C, a closed terminal, a supervisor.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: SignalStream,
    terminate: SignalStream,
    hang_up: SignalStream,
}

impl Interrupts {
    /// From now on these signals do not end the process by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
