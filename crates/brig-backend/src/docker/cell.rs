//! An open container, and its guarantee to be released.
//!
//! A program is ended over the wire (a lease that runs out at once), so that the container lives on for its files. Who
//! does not follow that is killed by the broker, with the container.

use super::broker_link::{Broker, News, OpenedContainer};
use super::facts;
use super::mux::End;
use super::protocol::{CellNumber, ContainerFacts, ContainerReceipt, How, Request, WhyGone};
use super::wire::{Broken, Wire};
use crate::cell::{Clocks, Ends, LiveCell, ReadEnd, WriteEnd};
use crate::files::FileStream;
use crate::jail::nanos;
use brig_core::backend::{BackendError, CellControl};
use brig_core::exit::{ExitFacts, KillCause};
use brig_core::limits::Limits;
use brig_jail::container::wire::{DownChannel, Ended, Posture, Seal, Start, UpChannel};
use brig_jail::stage::SetupFailure;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Longer than any container takes to greet or to serve files; only one that is stuck needs it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a program that was ended over the wire may go on before its container is killed.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// How long the broker may take to say what became of a container whose stream has ended.
const NEWS_PATIENCE: Duration = Duration::from_secs(5);
/// How long what a container said before its end may take to arrive after the news of that end.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long the counters of a container may take.
const FACTS_PATIENCE: Duration = Duration::from_secs(10);
/// Longer than any container takes to be removed.
const RELEASE_PATIENCE: Duration = Duration::from_secs(60);
/// A lease that is over before it is read.
const AT_ONCE: u64 = 1;

/// Nobody knows why.
const STREAM_ENDED: &str = "the stream of the container ended";
/// The end of the broker, in reasons.
pub(super) const BROKER_GONE: &str = "the engine broker is gone, and every container with it";

/// A container that the broker opened.
#[derive(Debug)]
pub(super) struct DockerCell {
    lifetime: Lifetime,
    control: Arc<Control>,
    news: watch::Receiver<News>,
    /// What the counters hold beside the program.
    overhead: facts::Overhead,
}

/// Why a container is gone, and the last that was counted; `None` where the broker is gone.
type Gone = Option<(WhyGone, ContainerFacts)>;

/// What the engine made and the container found.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) how: How,
    pub(super) receipt: ContainerReceipt,
    pub(super) posture: Posture,
}

impl DockerCell {
    /// Begins to speak with the container; done when it has greeted.
    pub(super) async fn new(
        broker: Broker,
        opened: OpenedContainer,
        limits: &Limits,
        tasks: &TaskTracker,
    ) -> Result<(DockerCell, Ends, Layers), BackendError> {
        let OpenedContainer {
            number,
            how,
            receipt,
            wire: socket,
            news,
            released,
        } = opened;
        let wire = Wire::new();
        let control = Arc::new(Control {
            broker: broker.clone(),
            number,
            wire: Arc::clone(&wire),
            limits: *limits,
            state: Mutex::default(),
            killed: Notify::new(),
        });
        let carrying = CancellationToken::new();
        // First of all, so that the container is released whatever fails below.
        let cell = DockerCell {
            lifetime: Lifetime {
                broker,
                number,
                released: Some(released),
                _carrying: carrying.clone().drop_guard(),
            },
            control,
            news,
            overhead: facts::Overhead::of(&receipt),
        };
        let stream = stream(socket).map_err(|source| BackendError::Io {
            act: "open the stream of a container",
            source,
        })?;
        let carried = Arc::clone(&wire).carry(stream);
        tasks.spawn(async move { carrying.run_until_cancelled(carried).await });
        let ends = Ends {
            job: WriteEnd::Channel(Box::new(wire.writer(DownChannel::Job))),
            stdin: WriteEnd::Channel(Box::new(wire.writer(DownChannel::Stdin))),
            stdout: ReadEnd::Channel(Box::new(wire.reader(UpChannel::Stdout))),
            stderr: ReadEnd::Channel(Box::new(wire.reader(UpChannel::Stderr))),
            runner: ReadEnd::Channel(Box::new(wire.reader(UpChannel::Runner))),
        };
        let posture = match timeout(PATIENCE, wire.greeted()).await {
            Ok(Ok(posture)) => posture,
            Ok(Err(broken)) => return Err(cell.broken(broken).await),
            Err(_late) => return Err(silent(&receipt)),
        };
        let layers = Layers {
            how,
            receipt,
            posture,
        };
        Ok((cell, ends, layers))
    }

    /// Waits until the container is gone. `None`: the broker is.
    async fn gone(&self) -> Gone {
        let mut news = self.news.clone();
        let news = news.wait_for(|news| news.gone.is_some()).await;
        news.ok().and_then(|news| news.gone.clone())
    }

    /// Why nothing more is heard of the container.
    async fn broken(&self, broken: Broken) -> BackendError {
        match broken {
            Broken::Nonsense(_) => BackendError::Protocol("a container does not keep to the protocol"),
            Broken::Ended => timeout(NEWS_PATIENCE, self.lost())
                .await
                .unwrap_or_else(|_late| BackendError::Interrupted(STREAM_ENDED.to_owned())),
        }
    }

    /// The container says how its job ended: what did the kernel count?
    async fn facts_of(&self, ended: Ended) -> Result<ExitFacts, BackendError> {
        let took = self.control.took();
        let counted = match timeout(FACTS_PATIENCE, self.control.broker.facts(self.control.number)).await {
            Ok(Some(counted)) => Some(counted),
            // The container went away meanwhile.
            Ok(None) | Err(_) => {
                let gone = timeout(LAST_WORDS, self.gone()).await;
                gone.ok().flatten().map(|(_why, counted)| counted)
            }
        };
        let counted = counted.ok_or_else(|| {
            BackendError::Interrupted("the engine broker did not tell what the kernel counted".to_owned())
        })?;
        facts::of_end(
            &ended,
            &self.overhead.without(counted),
            took,
            &self.control.limits,
        )
        .map(|facts| self.with_cause(facts))
    }

    /// Our own reason is the first one, if we have one.
    fn with_cause(&self, facts: ExitFacts) -> ExitFacts {
        let killed = self.control.cause().or(facts.killed);
        ExitFacts { killed, ..facts }
    }

    /// The container is gone, and said nothing of its job's end.
    fn facts_of_gone(&self, gone: Gone) -> Result<ExitFacts, BackendError> {
        let Some((why, counted)) = gone else {
            return Err(BackendError::Interrupted(BROKER_GONE.to_owned()));
        };
        // Its stream may be open still.
        self.hang_up();
        let cause = self.control.cause();
        let counted = self.overhead.without(counted);
        facts::of_gone(&why, &counted, self.control.took(), cause)
            .map(|facts| self.with_cause(facts))
            .ok_or_else(|| BackendError::Interrupted(facts::reason(&why).to_owned()))
    }
}

impl LiveCell for DockerCell {
    fn control(&self) -> Arc<dyn CellControl> {
        Arc::clone(&self.control) as Arc<dyn CellControl>
    }

    fn start(&self, clocks: Clocks) {
        self.control.start(clocks);
    }

    async fn ended(&mut self, _limits: &Limits) -> Result<ExitFacts, BackendError> {
        let wire = &self.control.wire;
        let end = tokio::select! {
            biased;
            end = wire.ended() => end,
            gone = self.gone() => match timeout(LAST_WORDS, wire.ended()).await {
                Ok(Ok(end)) => Ok(end),
                Ok(Err(_)) | Err(_) => return self.facts_of_gone(gone),
            },
            never = self.control.enforce(self.news.clone()) => match never {},
        };
        match end {
            Ok(End::Ended(ended)) => self.facts_of(ended).await,
            Ok(End::Failed(failure)) => Err(setup_error(&failure)),
            Err(Broken::Ended) => match timeout(NEWS_PATIENCE, self.gone()).await {
                Ok(gone) => self.facts_of_gone(gone),
                Err(_late) => Err(BackendError::Interrupted(STREAM_ENDED.to_owned())),
            },
            Err(broken @ Broken::Nonsense(_)) => Err(self.broken(broken).await),
        }
    }

    fn hang_up(&self) {
        self.control.wire.hang_up();
    }

    async fn open_files(&mut self) -> Result<FileStream, BackendError> {
        match timeout(PATIENCE, self.control.wire.open_files()).await {
            Ok(Ok(channel)) => Ok(Box::new(channel)),
            Ok(Err(broken)) => Err(self.broken(broken).await),
            Err(_late) => Err(BackendError::Protocol("a container did not serve files in time")),
        }
    }

    async fn lost(&self) -> BackendError {
        let gone = self.gone().await;
        let reason = gone.map_or(BROKER_GONE, |(why, _counted)| facts::reason(&why));
        BackendError::Interrupted(reason.to_owned())
    }

    async fn release(self) -> Result<(), BackendError> {
        self.lifetime.release().await
    }
}

fn setup_error(failure: &SetupFailure) -> BackendError {
    BackendError::Setup {
        stage: failure.stage.word().to_owned(),
        item: format!("item {} in the container", failure.item),
        errno: failure.errno,
        remedy: "see docs/docker.md".to_owned(),
    }
}

fn silent(receipt: &ContainerReceipt) -> BackendError {
    BackendError::Setup {
        stage: "start".to_owned(),
        item: format!("the first process of a container of {}", receipt.backend),
        errno: 0,
        remedy: "it does not greet: see the broker's log, and `brig doctor`".to_owned(),
    }
}

fn stream(socket: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Kill and renew, from any task.
#[derive(Debug)]
struct Control {
    broker: Broker,
    number: CellNumber,
    wire: Arc<Wire>,
    limits: Limits,
    state: Mutex<State>,
    killed: Notify,
}

#[derive(Debug, Default)]
struct State {
    started: Option<Instant>,
    cause: Option<KillCause>,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cause(&self) -> Option<KillCause> {
        self.state().cause
    }

    /// How long ago the program was started.
    fn took(&self) -> Option<Duration> {
        self.state().started.map(|started| started.elapsed())
    }

    /// The program starts; a cell that was killed before is not started.
    fn start(&self, clocks: Clocks) {
        let mut state = self.state();
        if state.cause.is_some() {
            return;
        }
        state.started = Some(Instant::now());
        let lease_nanos = span(clocks.lease_until);
        self.broker.post(Request::Start {
            cell: self.number,
            wall_nanos: nanos(clocks.wall),
            cpu_nanos: nanos(clocks.cpu),
            lease_nanos,
        });
        self.wire.start(Start {
            wall_nanos: nanos(clocks.wall),
            cpu_nanos: nanos(clocks.cpu),
            lease_nanos,
            file_size_bytes: self.limits.file_size.0,
            open_files: u64::from(self.limits.open_files),
            seal: Seal::fresh(),
        });
    }

    /// Ends the program when its CPU time is used up, and the container when it does not end.
    async fn enforce(&self, mut news: watch::Receiver<News>) -> std::convert::Infallible {
        let overrun = async {
            match news.wait_for(|news| news.overrun).await {
                Ok(_overrun) => self.kill(KillCause::CpuTime),
                // Others hear of that.
                Err(_closed) => {}
            }
            std::future::pending::<()>().await;
        };
        let insist = async {
            self.killed.notified().await;
            sleep(KILL_PATIENCE).await;
            let reason = crate::jail::reason(self.cause().unwrap_or(KillCause::Abandoned));
            self.broker.post(Request::Kill {
                cell: self.number,
                reason,
            });
            std::future::pending::<()>().await;
        };
        tokio::join!(overrun, insist);
        std::future::pending().await
    }
}

/// From now until `moment`; never 0, which would mean no limit.
fn span(moment: Instant) -> u64 {
    nanos(moment.saturating_duration_since(Instant::now())).max(AT_ONCE)
}

impl CellControl for Control {
    fn kill(&self, cause: KillCause) {
        let mut state = self.state();
        if state.cause.is_some() {
            return;
        }
        state.cause = Some(cause);
        if state.started.is_some() {
            self.wire.renew(AT_ONCE);
            self.killed.notify_one();
        } else {
            self.broker.post(Request::Kill {
                cell: self.number,
                reason: crate::jail::reason(cause),
            });
        }
    }

    fn renew(&self, lease_until: Instant) {
        let state = self.state();
        // A program that was ended must not live on by this.
        if state.cause.is_some() {
            return;
        }
        let lease_nanos = span(lease_until);
        self.wire.renew(lease_nanos);
        self.broker.post(Request::Renew {
            cell: self.number,
            lease_nanos,
        });
    }
}

/// The container's life. Dropped without [`Lifetime::release`], it is released all the same.
#[derive(Debug)]
struct Lifetime {
    broker: Broker,
    number: CellNumber,
    released: Option<oneshot::Receiver<()>>,
    /// Ends the task that moves bytes.
    _carrying: DropGuard,
}

impl Lifetime {
    /// Kills what runs and waits until nothing is left.
    async fn release(mut self) -> Result<(), BackendError> {
        let Some(released) = self.released.take() else {
            return Ok(());
        };
        self.broker.post(Request::Release { cell: self.number });
        match timeout(RELEASE_PATIENCE, released).await {
            Ok(Ok(())) => Ok(()),
            // Whoever takes its place removes what it left.
            Ok(Err(_sender_is_gone)) => Ok(()),
            Err(_late) => Err(BackendError::Protocol(
                "the engine broker did not release a container in time",
            )),
        }
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        if self.released.is_some() {
            self.broker.post(Request::Release { cell: self.number });
        }
    }
}
