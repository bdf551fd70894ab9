//! The daemon's side of the engine broker as an actor: many cells and requests over one socket of records.
//!
//! The broker may die and another take its place: its [`Reply::Hello`] says that nothing of before is left. Whoever
//! waited for something of the dead one hears that it is lost; requests are refused until the next one greets.

use super::protocol::{
    BackendName, CellNumber, ContainerFacts, ContainerReceipt, HealthState, How, PoolCounts, ProtocolError,
    Reply, Request, RequestNumber, RootDigest, Trouble, VERSION, WhyGone, receive, send,
};
use brig_core::backend::BackendError;
use brig_jail::protocol::CellLimits;
use brig_jail::record::{RecordError, RecordSocket};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info, info_span, warn};
use uuid::Uuid;

/// How long a request waits for a broker that has not greeted: one that starts takes less, one that died is being
/// started again.
const GREETING_TIME: Duration = Duration::from_secs(3);

/// A container as the broker opened it.
#[derive(Debug)]
pub(super) struct OpenedContainer {
    pub(super) number: CellNumber,
    pub(super) how: How,
    pub(super) receipt: ContainerReceipt,
    /// The container's wire, both ways.
    pub(super) wire: OwnedFd,
    /// What happens to it. Fails when the broker is gone.
    pub(super) news: watch::Receiver<News>,
    /// Tells when nothing of it is left. Fails when the broker is gone.
    pub(super) released: oneshot::Receiver<()>,
}

/// What became of a cell without being asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Its CPU time is used up.
    pub(super) overrun: bool,
    /// It ended.
    pub(super) gone: Option<(WhyGone, ContainerFacts)>,
}

/// What a backend gives, or what keeps it from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProbedBackend {
    pub(super) receipt: Option<ContainerReceipt>,
    pub(super) trouble: Option<Trouble>,
}

/// Why a request brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It could not be carried out.
    Refused(Trouble),
    /// The broker is gone, or did not come yet.
    Lost,
    /// The broker's answer made no sense.
    Malformed,
}

/// How a backend is, as its broker last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendHealth {
    /// In a word.
    pub state: HealthState,
    /// Why, where it is not serving.
    pub why: String,
    /// For metrics.
    pub counts: PoolCounts,
}

/// The health of every configured backend; nothing for one of which nothing was heard. `None`: there is no broker now.
pub type Health = Option<BTreeMap<BackendName, BackendHealth>>;

/// Which container is wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) image: RootDigest,
    pub(super) backend: BackendName,
    pub(super) limits: CellLimits,
    pub(super) job: Uuid,
    pub(super) fresh: bool,
}

/// A handle on the broker. Clones share it; when the last one is dropped the socket is closed and the broker ends.
#[derive(Debug, Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    _open: Arc<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    socket: AsyncFd<RecordSocket>,
    state: Mutex<State>,
    outbox: Notify,
    next_request: AtomicU64,
    health: watch::Sender<Health>,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    outbox: VecDeque<Request>,
    waiting: HashMap<RequestNumber, Waiter>,
    cells: HashMap<CellNumber, CellSlot>,
    /// The socket is of no use any more.
    dead: bool,
}

#[derive(Debug)]
enum Waiter {
    Cell(oneshot::Sender<Result<OpenedContainer, Refusal>>),
    Probe(oneshot::Sender<Result<ProbedBackend, Refusal>>),
}

#[derive(Debug)]
struct CellSlot {
    news: watch::Sender<News>,
    facts: Vec<oneshot::Sender<ContainerFacts>>,
    released: oneshot::Sender<()>,
}

impl Broker {
    /// Takes over the socket and starts the actor's two tasks. Must be called in a runtime.
    ///
    /// # Errors
    /// The socket cannot be registered with the runtime.
    pub fn start(socket: OwnedFd, tasks: &TaskTracker) -> Result<Broker, BackendError> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe code; the socket keeps one descriptor as long as it lives"
        )]
        let socket = AsyncFd::new(RecordSocket::new(socket)).map_err(|source| BackendError::Io {
            act: "watch the engine broker's socket",
            source,
        })?;
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            socket,
            state: Mutex::default(),
            outbox: Notify::new(),
            next_request: AtomicU64::new(1),
            health: watch::Sender::new(None),
            closed: closed.clone(),
        });
        tasks.spawn(read_replies(Arc::clone(&shared)).instrument(info_span!("broker_replies")));
        tasks.spawn(flush_outbox(Arc::clone(&shared)).instrument(info_span!("broker_outbox")));
        Ok(Broker {
            shared,
            _open: Arc::new(closed.drop_guard()),
        })
    }

    /// How the backends are, now and from now on.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Asks for a container.
    pub(super) async fn open(&self, wanted: Wanted) -> Result<OpenedContainer, Refusal> {
        self.present().await?;
        let request = self.number();
        let (sender, receiver) = oneshot::channel();
        let Wanted {
            image,
            backend,
            limits,
            job,
            fresh,
        } = wanted;
        let open = Request::Open {
            request,
            image,
            backend,
            limits,
            job,
            fresh,
        };
        self.ask(request, Waiter::Cell(sender), open);
        receiver.await.unwrap_or(Err(Refusal::Lost))
    }

    /// Asks what a backend gives.
    pub(super) async fn probe(&self, backend: BackendName) -> Result<ProbedBackend, Refusal> {
        self.present().await?;
        let request = self.number();
        let (sender, receiver) = oneshot::channel();
        self.ask(
            request,
            Waiter::Probe(sender),
            Request::Probe { request, backend },
        );
        receiver.await.unwrap_or(Err(Refusal::Lost))
    }

    /// Asks what was counted for a container. `None`: it is gone, or the broker is.
    pub(super) async fn facts(&self, cell: CellNumber) -> Option<ContainerFacts> {
        let (sender, receiver) = oneshot::channel();
        self.shared.state().cells.get_mut(&cell)?.facts.push(sender);
        self.post(Request::Facts { cell });
        receiver.await.ok()
    }

    /// Sends a request that has no answer of its own. Never blocks.
    pub(super) fn post(&self, request: Request) {
        self.shared.post(request);
    }

    /// Waits until a broker has greeted, not for long.
    async fn present(&self) -> Result<(), Refusal> {
        let mut health = self.shared.health.subscribe();
        match timeout(GREETING_TIME, health.wait_for(Option::is_some)).await {
            Ok(Ok(_present)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Refusal::Lost),
        }
    }

    fn number(&self) -> RequestNumber {
        self.shared.next_request.fetch_add(1, Ordering::Relaxed)
    }

    fn ask(&self, number: RequestNumber, waiter: Waiter, request: Request) {
        {
            let mut state = self.shared.state();
            if state.dead {
                // The waiter is dropped, which its receiver takes for the loss that it is.
                return;
            }
            state.waiting.insert(number, waiter);
        }
        self.post(request);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, request: Request) {
        let mut state = self.state();
        if state.dead {
            return;
        }
        // Order matters (Start before Kill): while something waits, everything waits behind it.
        if state.outbox.is_empty() {
            match send(self.socket.get_ref(), &request, None) {
                Ok(()) => return,
                Err(ProtocolError::Record(RecordError::NotReady)) => {}
                Err(error) => {
                    drop(state);
                    return self.die(&error.to_string());
                }
            }
        }
        state.outbox.push_back(request);
        drop(state);
        self.outbox.notify_one();
    }

    /// Everything that a broker had is lost: the senders of whoever waits are dropped.
    fn lose(&self) {
        let (waiting, cells) = {
            let mut state = self.state();
            (
                std::mem::take(&mut state.waiting),
                std::mem::take(&mut state.cells),
            )
        };
        self.health.send_replace(None);
        if !waiting.is_empty() || !cells.is_empty() {
            let (requests, cells) = (waiting.len(), cells.len());
            warn!(requests, cells, "the engine broker is gone with what it held");
        }
    }

    /// The socket is of no use any more.
    fn die(&self, how: &str) {
        {
            let mut state = self.state();
            if std::mem::replace(&mut state.dead, true) {
                return;
            }
            state.outbox.clear();
        }
        error!(how, "the engine broker's socket is closed");
        self.lose();
    }

    fn route(&self, reply: Reply, descriptor: Option<OwnedFd>) {
        match reply {
            Reply::Hello { version } => self.greeted(version),
            Reply::Opened {
                request,
                cell,
                how,
                receipt,
            } => self.opened(request, (cell, how, receipt), descriptor),
            Reply::Refused { request, trouble } => self.refused(request, trouble),
            Reply::Facts { cell, facts } => {
                let waiter = self.state().cells.get_mut(&cell).and_then(|slot| {
                    // In the order in which they asked.
                    (!slot.facts.is_empty()).then(|| slot.facts.remove(0))
                });
                // Whoever gave up waiting does not need them.
                waiter.map(|waiter| waiter.send(facts).ok());
            }
            Reply::Overrun { cell, reason: _ } => self.tell(cell, |news| news.overrun = true),
            Reply::Gone { cell, why, facts } => {
                self.tell(cell, |news| news.gone = Some((why, facts)));
                if let Some(slot) = self.state().cells.get_mut(&cell) {
                    slot.facts.clear();
                }
            }
            Reply::Released { cell } => {
                let slot = self.state().cells.remove(&cell);
                // Whoever dropped the environment does not wait for this.
                slot.map(|slot| slot.released.send(()).ok());
            }
            Reply::Probed {
                request,
                receipt,
                trouble,
            } => {
                if let Some(Waiter::Probe(waiter)) = self.state().waiting.remove(&request) {
                    let _nobody_waits = waiter.send(Ok(ProbedBackend { receipt, trouble }));
                }
            }
            Reply::Health {
                backend,
                state,
                why,
                counts,
            } => self.health.send_modify(|health| {
                let health = health.get_or_insert_default();
                health.insert(backend, BackendHealth { state, why, counts });
            }),
        }
    }

    fn greeted(&self, version: u32) {
        if version != VERSION {
            return self.die("it speaks another version of the protocol");
        }
        self.lose();
        info!("an engine broker is here");
        self.health.send_replace(Some(BTreeMap::new()));
    }

    fn tell(&self, cell: CellNumber, change: impl FnOnce(&mut News)) {
        if let Some(slot) = self.state().cells.get(&cell) {
            slot.news.send_modify(change);
        }
    }

    fn opened(
        &self,
        request: RequestNumber,
        (number, how, receipt): (CellNumber, How, ContainerReceipt),
        descriptor: Option<OwnedFd>,
    ) {
        let waiter = self.state().waiting.remove(&request);
        let Some(Waiter::Cell(waiter)) = waiter else {
            warn!(cell = number, "a container was opened that nobody asked for");
            return self.post(Request::Release { cell: number });
        };
        let Some(wire) = descriptor else {
            self.post(Request::Release { cell: number });
            let _nobody_waits = waiter.send(Err(Refusal::Malformed));
            return;
        };
        let (released_sender, released) = oneshot::channel();
        let (news_sender, news) = watch::channel(News::default());
        let slot = CellSlot {
            news: news_sender,
            facts: Vec::new(),
            released: released_sender,
        };
        self.state().cells.insert(number, slot);
        let opened = OpenedContainer {
            number,
            how,
            receipt,
            wire,
            news,
            released,
        };
        if waiter.send(Ok(opened)).is_err() {
            // The request was given up while the container was made.
            self.post(Request::Release { cell: number });
        }
    }

    fn refused(&self, request: RequestNumber, trouble: Trouble) {
        let refusal = Refusal::Refused(trouble);
        match self.state().waiting.remove(&request) {
            Some(Waiter::Cell(waiter)) => drop(waiter.send(Err(refusal))),
            Some(Waiter::Probe(waiter)) => drop(waiter.send(Err(refusal))),
            None => warn!(request, "a request was refused that nobody made"),
        }
    }
}

async fn read_replies(shared: Arc<Shared>) {
    loop {
        let ready = tokio::select! {
            () = shared.closed.cancelled() => return,
            ready = shared.socket.readable() => ready,
        };
        let mut ready = match ready {
            Ok(ready) => ready,
            Err(error) => return shared.die(&error.to_string()),
        };
        loop {
            match receive::<Reply>(shared.socket.get_ref()) {
                Ok((reply, descriptor)) => shared.route(reply, descriptor),
                Err(ProtocolError::Record(RecordError::NotReady)) => break,
                Err(error) => return shared.die(&error.to_string()),
            }
        }
        ready.clear_ready();
    }
}

async fn flush_outbox(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.closed.cancelled() => return,
            () = shared.outbox.notified() => {}
        }
        if shared.state().dead {
            return;
        }
        if let Err(error) = flush(&shared).await {
            return shared.die(&error.to_string());
        }
    }
}

async fn flush(shared: &Shared) -> Result<(), ProtocolError> {
    loop {
        let ready = shared.socket.writable().await;
        let mut ready = ready.map_err(|error| ProtocolError::Record(RecordError::Socket(error)))?;
        let mut state = shared.state();
        while let Some(request) = state.outbox.front() {
            match send(shared.socket.get_ref(), request, None) {
                Ok(()) => drop(state.outbox.pop_front()),
                Err(ProtocolError::Record(RecordError::NotReady)) => break,
                Err(error) => return Err(error),
            }
        }
        if state.outbox.is_empty() {
            return Ok(());
        }
        drop(state);
        ready.clear_ready();
    }
}
