//! The daemon's side of the keeper as an actor: many cells and requests over one socket of fixed-size records.
//!
//! A record is sent at once by whoever has one; only when the socket is full does it wait in the outbox. Replies
//! are routed by request number (answers) or cell number (what happens to a cell). When the keeper dies every
//! waiter hears it.

use brig_core::backend::BackendError;
use brig_jail::client::{KeeperLink, LinkError};
use brig_jail::protocol::{
    CellFacts, CellLimits, CellNumber, CellReceipt, ImageDigest, KillReason, Level, Network,
};
use brig_jail::protocol::{Reply, Request, RequestNumber};
use brig_jail::stage::SetupFailure;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, error, info_span, warn};

/// What the keeper is called in errors.
pub(crate) const LOST: &str = "the keeper";

/// A cell as the keeper opened it.
#[derive(Debug)]
pub struct OpenedCell {
    /// Its number.
    pub number: CellNumber,
    /// Its layers.
    pub receipt: CellReceipt,
    /// Takes the ExecSpec, then what the runner needs.
    pub job: OwnedFd,
    /// Write end.
    pub stdin: OwnedFd,
    /// Read end.
    pub stdout: OwnedFd,
    /// Read end.
    pub stderr: OwnedFd,
    /// Read end of what the runner tells.
    pub runner: OwnedFd,
    /// Tells when no process of the cell is left. Fails when the keeper is gone.
    pub ended: oneshot::Receiver<CellFacts>,
    /// Tells when nothing of the cell is left.
    pub released: oneshot::Receiver<()>,
}

/// What a host gives, as a trial cell showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// Layers of the best cell.
    pub receipt: CellReceipt,
    /// What keeps `strict` from working.
    pub strict: Option<SetupFailure>,
    /// What keeps `workstation` from working.
    pub workstation: Option<SetupFailure>,
}

/// Why a request to the keeper brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeeperRefusal {
    /// It could not be carried out.
    Failed(SetupFailure),
    /// The keeper is gone.
    Lost,
    /// The keeper's answer made no sense.
    Malformed,
}

/// A handle on the keeper. Clones share it; when the last one is dropped the link is closed and the keeper ends.
#[derive(Debug, Clone)]
pub struct Keeper {
    shared: Arc<Shared>,
    _open: Arc<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    link: AsyncFd<KeeperLink>,
    state: Mutex<State>,
    /// Something waits in the outbox.
    outbox: Notify,
    next_request: AtomicU64,
    lost: CancellationToken,
    /// No handle is left.
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    outbox: VecDeque<Request>,
    waiting: HashMap<RequestNumber, Waiter>,
    cells: HashMap<CellNumber, CellSlot>,
    lost: bool,
}

#[derive(Debug)]
enum Waiter {
    Cell(oneshot::Sender<Result<OpenedCell, KeeperRefusal>>),
    Files(oneshot::Sender<Result<OwnedFd, KeeperRefusal>>),
    Probe(oneshot::Sender<Result<Probed, KeeperRefusal>>),
}

#[derive(Debug)]
struct CellSlot {
    ended: Option<oneshot::Sender<CellFacts>>,
    released: Option<oneshot::Sender<()>>,
}

impl Keeper {
    /// Takes over the link and starts the actor's two tasks. Must be called in a runtime.
    ///
    /// # Errors
    /// The socket cannot be registered with the runtime.
    pub fn start(link: KeeperLink, tasks: &TaskTracker) -> Result<Keeper, BackendError> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe code; the link keeps one descriptor as long as it lives"
        )]
        let link = AsyncFd::new(link).map_err(|source| BackendError::Io {
            act: "watch the keeper's socket",
            source,
        })?;
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            link,
            closed: closed.clone(),
            state: Mutex::default(),
            outbox: Notify::new(),
            next_request: AtomicU64::new(1),
            lost: CancellationToken::new(),
        });
        tasks.spawn(read_replies(Arc::clone(&shared)).instrument(info_span!("keeper_replies")));
        tasks.spawn(flush_outbox(Arc::clone(&shared)).instrument(info_span!("keeper_outbox")));
        Ok(Keeper {
            shared,
            _open: Arc::new(closed.drop_guard()),
        })
    }

    /// Waits until the keeper is gone. A daemon cannot go on then.
    pub async fn lost(&self) {
        self.shared.lost.cancelled().await;
    }

    /// Asks for a cell.
    ///
    /// # Errors
    /// It could not be built, or the keeper is gone.
    pub async fn open(
        &self,
        image: ImageDigest,
        level: Level,
        network: Network,
        limits: CellLimits,
    ) -> Result<OpenedCell, KeeperRefusal> {
        let request = self.number();
        let (sender, receiver) = oneshot::channel();
        let open = Request::Open {
            request,
            image,
            level,
            network,
            limits,
        };
        self.ask(request, Waiter::Cell(sender), open);
        receiver.await.unwrap_or(Err(KeeperRefusal::Lost))
    }

    /// Asks for an enter-helper: the socket to it.
    ///
    /// # Errors
    /// It could not be started, or the keeper is gone.
    pub async fn open_files(&self, cell: CellNumber) -> Result<OwnedFd, KeeperRefusal> {
        let request = self.number();
        let (sender, receiver) = oneshot::channel();
        self.ask(
            request,
            Waiter::Files(sender),
            Request::OpenFiles { request, cell },
        );
        receiver.await.unwrap_or(Err(KeeperRefusal::Lost))
    }

    /// Asks what this host gives.
    ///
    /// # Errors
    /// The keeper is gone.
    pub async fn probe(&self) -> Result<Probed, KeeperRefusal> {
        let request = self.number();
        let (sender, receiver) = oneshot::channel();
        self.ask(request, Waiter::Probe(sender), Request::Probe { request });
        receiver.await.unwrap_or(Err(KeeperRefusal::Lost))
    }

    /// Sends a request that has no answer of its own. Never blocks.
    pub fn post(&self, request: Request) {
        self.shared.post(request);
    }

    /// Kills a cell.
    pub fn kill(&self, cell: CellNumber, reason: KillReason) {
        self.post(Request::Kill { cell, reason });
    }

    fn number(&self) -> RequestNumber {
        self.shared.next_request.fetch_add(1, Ordering::Relaxed)
    }

    fn ask(&self, number: RequestNumber, waiter: Waiter, request: Request) {
        {
            let mut state = self.shared.state();
            if state.lost {
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
        if state.lost {
            return;
        }
        // Order matters (Start before Kill): while something waits, everything waits behind it.
        if state.outbox.is_empty() {
            match self.link.get_ref().send(&request) {
                Ok(()) => return,
                Err(LinkError::Full) => {}
                Err(LinkError::Closed | LinkError::Malformed | LinkError::Socket(_)) => {
                    drop(state);
                    self.lose("a request could not be sent");
                    return;
                }
            }
        }
        state.outbox.push_back(request);
        drop(state);
        self.outbox.notify_one();
    }

    /// The keeper is gone: every waiter's sender is dropped.
    fn lose(&self, how: &str) {
        let (waiting, cells) = {
            let mut state = self.state();
            if state.lost {
                return;
            }
            state.lost = true;
            state.outbox.clear();
            (
                std::mem::take(&mut state.waiting),
                std::mem::take(&mut state.cells),
            )
        };
        error!(
            requests = waiting.len(),
            cells = cells.len(),
            how,
            "the keeper is gone"
        );
        self.lost.cancel();
    }

    fn route(&self, reply: Reply, descriptors: Vec<OwnedFd>) {
        match reply {
            Reply::Opened {
                request,
                cell,
                receipt,
            } => self.opened(request, cell, receipt, descriptors),
            Reply::FilesOpened { request, .. } => self.files_opened(request, descriptors),
            Reply::Failed { request, failure } => self.failed(request, failure),
            Reply::Ended { cell, facts } => {
                let ended = self
                    .state()
                    .cells
                    .get_mut(&cell)
                    .and_then(|slot| slot.ended.take());
                // Nobody waits any more when the environment was dropped; its Release is on the way.
                if ended.is_some_and(|ended| ended.send(facts).is_err()) {
                    warn!(cell, "a cell ended that nobody waits for");
                }
            }
            Reply::Released { cell } => {
                let released = self.state().cells.remove(&cell).and_then(|slot| slot.released);
                if let Some(released) = released {
                    // Whoever dropped the environment does not wait for this.
                    let _nobody_waits = released.send(());
                }
            }
            Reply::Probed {
                request,
                receipt,
                strict,
                workstation,
            } => {
                if let Some(Waiter::Probe(waiter)) = self.state().waiting.remove(&request) {
                    let _nobody_waits = waiter.send(Ok(Probed {
                        receipt,
                        strict,
                        workstation,
                    }));
                }
            }
        }
    }

    fn opened(
        &self,
        request: RequestNumber,
        cell: CellNumber,
        receipt: CellReceipt,
        descriptors: Vec<OwnedFd>,
    ) {
        let waiter = self.state().waiting.remove(&request);
        let Some(Waiter::Cell(waiter)) = waiter else {
            warn!(cell, "a cell was opened that nobody asked for");
            return self.post(Request::Release { cell });
        };
        let Ok([job, stdin, stdout, stderr, runner]) = <[OwnedFd; 5]>::try_from(descriptors) else {
            self.post(Request::Release { cell });
            let _nobody_waits = waiter.send(Err(KeeperRefusal::Malformed));
            return;
        };
        let (ended_sender, ended) = oneshot::channel();
        let (released_sender, released) = oneshot::channel();
        let slot = CellSlot {
            ended: Some(ended_sender),
            released: Some(released_sender),
        };
        self.state().cells.insert(cell, slot);
        let opened = OpenedCell {
            number: cell,
            receipt,
            job,
            stdin,
            stdout,
            stderr,
            runner,
            ended,
            released,
        };
        if waiter.send(Ok(opened)).is_err() {
            // The request was given up while the cell was built.
            self.post(Request::Release { cell });
        }
    }

    fn files_opened(&self, request: RequestNumber, descriptors: Vec<OwnedFd>) {
        if let Some(Waiter::Files(waiter)) = self.state().waiting.remove(&request) {
            let socket = descriptors.into_iter().next().ok_or(KeeperRefusal::Malformed);
            // A dropped descriptor ends the helper.
            let _nobody_waits = waiter.send(socket);
        }
    }

    fn failed(&self, request: RequestNumber, failure: SetupFailure) {
        let refusal = KeeperRefusal::Failed(failure);
        let waiter = self.state().waiting.remove(&request);
        match waiter {
            Some(Waiter::Cell(waiter)) => drop(waiter.send(Err(refusal))),
            Some(Waiter::Files(waiter)) => drop(waiter.send(Err(refusal))),
            Some(Waiter::Probe(waiter)) => drop(waiter.send(Err(refusal))),
            None => warn!(request, "a request failed that nobody made"),
        }
    }
}

async fn read_replies(shared: Arc<Shared>) {
    loop {
        let ready = tokio::select! {
            () = shared.closed.cancelled() => return,
            ready = shared.link.readable() => ready,
        };
        let mut ready = match ready {
            Ok(ready) => ready,
            Err(error) => return shared.lose(&error.to_string()),
        };
        loop {
            match shared.link.get_ref().recv() {
                Ok(Some((reply, descriptors))) => shared.route(reply, descriptors),
                Ok(None) => break,
                Err(error) => return shared.lose(&error.to_string()),
            }
        }
        ready.clear_ready();
    }
}

async fn flush_outbox(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.lost.cancelled() => return,
            () = shared.closed.cancelled() => return,
            () = shared.outbox.notified() => {}
        }
        if let Err(error) = flush(&shared).await {
            return shared.lose(&error.to_string());
        }
    }
}

async fn flush(shared: &Shared) -> Result<(), LinkError> {
    loop {
        let mut ready = shared.link.writable().await.map_err(LinkError::Socket)?;
        let mut state = shared.state();
        while let Some(request) = state.outbox.front() {
            match shared.link.get_ref().send(request) {
                Ok(()) => drop(state.outbox.pop_front()),
                Err(LinkError::Full) => break,
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

#[cfg(test)]
mod tests;
