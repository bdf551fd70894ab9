//! Calls to the engine: every one has a deadline, and goes through the breaker.

use super::breaker::{Breaker, Outcome};
use crate::docker::protocol::Trouble;
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::SystemInfo;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an engine may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// Whether it is there.
    pub(super) ping: Duration,
    /// What needs no container to be started.
    pub(super) quick: Duration,
    /// Creating, starting, removing.
    pub(super) slow: Duration,
    /// Making an image.
    pub(super) image: Duration,
}

impl Deadlines {
    pub(super) const DEFAULT: Deadlines = Deadlines {
        ping: Duration::from_secs(4),
        quick: Duration::from_secs(10),
        slow: Duration::from_secs(40),
        image: Duration::from_secs(900),
    };
}

/// Why a call brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {cause}")]
pub(super) struct EngineError {
    /// Which.
    pub(super) call: &'static str,
    /// Why.
    pub(super) cause: Cause,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cause {
    /// It was not asked: it did not answer before.
    #[error("the engine does not answer")]
    Open,
    /// No answer in time.
    #[error("the engine did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Nobody listens, or the connection broke.
    #[error("{text}")]
    Unreachable {
        /// In words.
        text: String,
        /// The kernel's number, 0 when none applies.
        errno: i32,
    },
    /// It said no.
    #[error("the engine refused ({status}): {message}")]
    Refused {
        /// HTTP's number.
        status: u16,
        /// In its words.
        message: String,
    },
    /// It said something that makes no sense.
    #[error("the engine's answer makes no sense: {0}")]
    Malformed(String),
}

impl EngineError {
    /// Whether the engine said that there is no such thing.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.cause, Cause::Refused { status: 404, .. })
    }

    /// Whether it said that it is at it already.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.cause, Cause::Refused { status: 409, .. })
    }

    /// Whether the engine itself could not be asked.
    pub(super) fn is_engines_loss(&self) -> bool {
        match self.cause {
            Cause::Open | Cause::Timeout(_) | Cause::Unreachable { .. } => true,
            Cause::Refused { .. } | Cause::Malformed(_) => false,
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        match self.cause {
            Cause::Open => None,
            Cause::Refused { .. } => Some(Outcome::Answered),
            Cause::Unreachable { .. } => Some(Outcome::Absent),
            Cause::Timeout(_) | Cause::Malformed(_) => Some(Outcome::Failed),
        }
    }
}

/// What the engine says of itself.
#[derive(Debug, Clone)]
pub(super) struct EngineFacts {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) api: String,
    pub(super) info: SystemInfo,
}

/// The engine behind its socket.
#[derive(Debug)]
pub(super) struct Engine {
    socket: PathBuf,
    breaker: Mutex<Breaker>,
    pub(super) deadlines: Deadlines,
}

impl Engine {
    pub(super) fn new(socket: PathBuf, deadlines: Deadlines) -> Engine {
        Engine {
            socket,
            breaker: Mutex::new(Breaker::CLOSED),
            deadlines,
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is asked at all now.
    pub(super) fn answers(&self) -> bool {
        self.breaker().allows()
    }

    /// The path of its socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes a call, if the breaker lets it through.
    pub(super) async fn call<T, F: Future<Output = Result<T, Error>>>(
        &self,
        call: &'static str,
        deadline: Duration,
        ask: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError> {
        if !self.answers() {
            let cause = Cause::Open;
            return Err(EngineError { call, cause });
        }
        self.attempt(call, deadline, ask).await
    }

    /// Whether it is there; the one call that is made while the breaker is not closed. `Err` of a duration: not yet.
    pub(super) async fn probe(&self) -> Result<Result<EngineFacts, EngineError>, Duration> {
        {
            let mut breaker = self.breaker();
            *breaker = breaker.probe(Instant::now())?;
        }
        Ok(self.probe_now().await)
    }

    async fn probe_now(&self) -> Result<EngineFacts, EngineError> {
        let Deadlines { ping, quick, .. } = self.deadlines;
        let version = self
            .attempt("version", ping, |docker| async move { docker.version().await })
            .await?;
        let info = self
            .attempt("info", quick, |docker| async move { docker.info().await })
            .await?;
        let podman = version.components.as_ref().is_some_and(|components| {
            components
                .iter()
                .any(|component| component.name.starts_with("Podman"))
        });
        Ok(EngineFacts {
            name: if podman { "Podman" } else { "Docker" }.to_owned(),
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            info,
        })
    }

    /// Whether it is there, quickly.
    pub(super) async fn ping(&self) -> Result<(), EngineError> {
        let deadline = self.deadlines.ping;
        self.call("ping", deadline, |docker| async move { docker.ping().await })
            .await
            .map(drop)
    }

    async fn attempt<T, F: Future<Output = Result<T, Error>>>(
        &self,
        call: &'static str,
        deadline: Duration,
        ask: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError> {
        let done = match self.client() {
            Ok(docker) => match tokio::time::timeout(deadline, ask(docker)).await {
                Ok(done) => done.map_err(|error| self.cause(error)),
                Err(_elapsed) => Err(Cause::Timeout(deadline)),
            },
            Err(error) => Err(self.cause(error)),
        };
        let done = done.map_err(|cause| EngineError { call, cause });
        let outcome = match &done {
            Ok(_) => Some(Outcome::Answered),
            Err(error) => error.outcome(),
        };
        self.note(outcome);
        done
    }

    /// The stream of an endless call ended: nobody is there, or not as before.
    pub(super) fn lost(&self) {
        self.note(Some(Outcome::Failed));
    }

    fn note(&self, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            let mut breaker = self.breaker();
            *breaker = breaker.next(outcome, Instant::now());
        }
    }

    /// A client for calls that last. Making one is cheap: it keeps no connection.
    pub(super) fn client(&self) -> Result<Docker, Error> {
        let path = self.socket.to_string_lossy();
        // Its own deadline is ours plus some: it must never be the one that ends a call.
        let seconds = self.deadlines.image.as_secs() + 60;
        Docker::connect_with_unix(&path, seconds, bollard::API_DEFAULT_VERSION)
    }

    fn cause(&self, error: Error) -> Cause {
        let socket = self.socket.display();
        if let Error::DockerResponseServerError { status_code, message } = &error {
            return Cause::Refused {
                status: *status_code,
                message: short(message),
            };
        }
        if let Error::DockerStreamError { error } = &error {
            return Cause::Refused {
                status: 500,
                message: short(error),
            };
        }
        if let Error::SocketNotFoundError(_) = &error {
            return Cause::Unreachable {
                text: format!("there is no socket {socket}"),
                errno: 2,
            };
        }
        match io_cause(&error) {
            Some(errno) => Cause::Unreachable {
                text: format!("{socket}: {}", std::io::Error::from_raw_os_error(errno)),
                errno,
            },
            None if is_transport(&error) => Cause::Unreachable {
                text: format!("{socket}: {error}"),
                errno: 0,
            },
            None => Cause::Malformed(short(&error.to_string())),
        }
    }
}

/// What an engine says ends up in records of a bounded size.
fn short(text: &str) -> String {
    const MOST: usize = 400;
    let one_line = text.trim().replace(['\n', '\r'], " ");
    match one_line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", one_line.split_at(at).0),
        None => one_line,
    }
}

/// The kernel's number somewhere among the causes of an error.
fn io_cause(error: &Error) -> Option<i32> {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .find_map(std::io::Error::raw_os_error)
}

/// Whether the connection itself failed.
fn is_transport(error: &Error) -> bool {
    if let Error::HyperResponseError { err } = error {
        return err.is_closed() || err.is_incomplete_message() || err.is_canceled();
    }
    matches!(error, Error::HyperLegacyError { .. } | Error::IOError { .. })
}

/// What to tell of a failed call: `stage` and the thing that it was about.
pub(super) fn trouble(engine: &Engine, stage: &str, item: &str, error: &EngineError) -> Trouble {
    let socket = engine.socket().display();
    let (item, errno, remedy) = match &error.cause {
        Cause::Open => (
            format!("the engine at {socket} does not answer"),
            0,
            "start the engine (`systemctl start docker`), or restart it if it hangs; `brig doctor` tries it again"
                .to_owned(),
        ),
        Cause::Timeout(after) => (
            format!("the engine at {socket} did not answer `{}` within {} s", error.call, after.as_secs()),
            110,
            "see what the engine is doing (`journalctl -u docker`), and restart it if it hangs".to_owned(),
        ),
        Cause::Unreachable { text, errno: 13 } => (
            text.clone(),
            13,
            format!("run Brig as a user who may use {socket}: as root, or as a member of the socket's group (which is as good as root)"),
        ),
        Cause::Unreachable { text, errno } => (
            text.clone(),
            *errno,
            "install and start a container engine (`apt install docker.io`, `systemctl start docker`), or name its socket: `socket` in `[docker]`"
                .to_owned(),
        ),
        Cause::Refused { message, .. } => (
            format!("{item}: {message}"),
            0,
            "the engine's own message says what it lacks; `brig doctor` checks the rest".to_owned(),
        ),
        Cause::Malformed(what) => (
            format!("{item}: {what}"),
            0,
            format!("is it a container engine that listens on {socket}? API 1.41 or newer is needed"),
        ),
    };
    Trouble {
        stage: if error.is_engines_loss() { "engine" } else { stage }.to_owned(),
        item,
        errno,
        remedy,
    }
}
