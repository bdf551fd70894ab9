//! The daemon's requests.

use super::BrokerError;
use super::cell::Command;
use super::config::BrokerConfig;
use super::container::{self, Shape};
use super::health::{tell_health, watch_engine};
use super::open::{Wanted, fill_pool, open};
use super::shared::Shared;
use super::watch::Spans;
use crate::docker::protocol::{
    BackendName, How, ProtocolError, Reply, Request, RequestNumber, Trouble, VERSION, receive, send,
};
use brig_jail::policy::EngineProfile;
use brig_jail::protocol::CellLimits;
use brig_jail::record::{RecordError, RecordSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span, warn};

/// Replies under way: more of them, and whoever has one waits.
const REPLIES: usize = 256;
/// How long the last clean-up may take before the broker leaves what is left to the next one.
const CLEANING: Duration = Duration::from_secs(20);

/// Serves until the daemon closes its end.
pub(super) async fn serve(
    config: BrokerConfig,
    socket: RecordSocket,
    init: &'static [u8],
    profile: EngineProfile,
) -> Result<(), BrokerError> {
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe code; the socket keeps one descriptor as long as it lives"
    )]
    let socket = AsyncFd::new(socket).map_err(|source| BrokerError::Io {
        act: "watch the daemon's socket",
        source,
    })?;
    let socket = Arc::new(socket);
    let (replies, outgoing) = mpsc::channel(REPLIES);
    let shared = Arc::new(Shared::new(config, init, profile, replies));
    let stop = CancellationToken::new();
    shared.tell(Reply::Hello { version: VERSION }, None).await;
    let writer = shared.tasks.spawn(write_replies(Arc::clone(&socket), outgoing));
    until(&shared, &stop, watch_engine(Arc::clone(&shared)), "engine");
    let filling = fill_pool(Arc::clone(&shared)).instrument(info_span!("broker", task = "pool"));
    shared.tasks.spawn(filling);
    until(&shared, &stop, tell_health(Arc::clone(&shared)), "health");
    let served = read_requests(&shared, &socket).await;
    stop.cancel();
    writer.abort();
    if tokio::time::timeout(CLEANING, clean_up(&shared)).await.is_err() {
        warn!("not every container could be removed; the next broker does it");
    }
    served
}

/// Runs a task for as long as the daemon is served.
fn until(
    shared: &Shared,
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
    name: &'static str,
) {
    let stop = stop.clone();
    let task = async move {
        tokio::select! {
            () = task => {}
            () = stop.cancelled() => {}
        }
    };
    shared
        .tasks
        .spawn(task.instrument(info_span!("broker", task = name)));
}

async fn read_requests(shared: &Arc<Shared>, socket: &AsyncFd<RecordSocket>) -> Result<(), BrokerError> {
    loop {
        let mut ready = socket.readable().await.map_err(|source| BrokerError::Io {
            act: "wait for the daemon",
            source,
        })?;
        match receive::<Request>(socket.get_ref()) {
            Ok((request, _no_descriptor_means_anything)) => take(shared, request).await,
            Err(ProtocolError::Record(RecordError::NotReady)) => ready.clear_ready(),
            Err(ProtocolError::Record(RecordError::Closed)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn write_replies(
    socket: Arc<AsyncFd<RecordSocket>>,
    mut replies: mpsc::Receiver<(Reply, Option<OwnedFd>)>,
) {
    while let Some((reply, descriptor)) = replies.recv().await {
        loop {
            match send(socket.get_ref(), &reply, descriptor.as_ref()) {
                Ok(()) => break,
                Err(ProtocolError::Record(RecordError::NotReady)) => {
                    let Ok(mut ready) = socket.writable().await else {
                        return;
                    };
                    // Tried again at once: what was told to be full may have been read meanwhile.
                    if matches!(
                        send(socket.get_ref(), &reply, descriptor.as_ref()),
                        Err(ProtocolError::Record(RecordError::NotReady))
                    ) {
                        ready.clear_ready();
                        continue;
                    }
                    break;
                }
                // The reader of requests hears that the daemon is gone.
                Err(ProtocolError::Record(RecordError::Closed)) => return,
                Err(error) => {
                    warn!(%error, "a reply could not be sent");
                    break;
                }
            }
        }
    }
}

async fn take(shared: &Arc<Shared>, request: Request) {
    match request {
        Request::Open {
            request,
            image,
            backend,
            limits,
            job,
            fresh,
        } => {
            let limits = limits.clamped_to(&shared.config.ceilings);
            let wanted = Wanted {
                request,
                shape: Shape::new(image, backend, limits),
                limits,
                job,
                how: fresh.then_some(How::Cold),
            };
            spawn_open(shared, wanted).await;
        }
        Request::Start {
            cell,
            wall_nanos,
            cpu_nanos,
            lease_nanos,
        } => {
            let spans = Spans {
                wall: Duration::from_nanos(wall_nanos),
                cpu: Duration::from_nanos(cpu_nanos),
                lease: Duration::from_nanos(lease_nanos),
            };
            command(shared, cell, Command::Start(spans));
        }
        Request::Renew { cell, lease_nanos } => {
            command(shared, cell, Command::Renew(Duration::from_nanos(lease_nanos)));
        }
        Request::Kill { cell, reason } => command(shared, cell, Command::Kill(reason)),
        Request::Facts { cell } => command(shared, cell, Command::Facts),
        Request::Release { cell } => command(shared, cell, Command::Release),
        Request::Probe { request, backend } => {
            let (task, shared) = (Arc::clone(shared), shared);
            shared
                .tasks
                .spawn(async move { probe(&task, request, backend).await });
        }
    }
}

async fn spawn_open(shared: &Arc<Shared>, wanted: Wanted) {
    // A daemon that was taken over can ask as often as it likes; a task for each would be ours to pay.
    if shared.state().opening > shared.config.max_containers {
        let trouble = Trouble {
            stage: "request".to_owned(),
            item: "too many requests at once".to_owned(),
            errno: 11,
            remedy: "allow fewer jobs at once".to_owned(),
        };
        let request = wanted.request;
        return shared.tell(Reply::Refused { request, trouble }, None).await;
    }
    let span = info_span!("open", job = %wanted.job);
    shared
        .tasks
        .spawn(open(Arc::clone(shared), wanted).instrument(span));
}

fn command(shared: &Shared, cell: u64, command: Command) {
    let state = shared.state();
    let sent = state.cells.get(&cell).map(|leased| leased.commands.send(command));
    if !matches!(sent, Some(Ok(()))) {
        // Released already, or of a broker before this one.
        debug!(cell, ?command, "no such cell");
    }
}

async fn probe(shared: &Shared, request: RequestNumber, backend: BackendName) {
    let tried = async {
        let engine = shared.engine_facts().await?;
        shared.runtime(&engine, &backend)?;
        let image = shared.images.any().ok_or_else(|| Trouble {
            stage: "image".to_owned(),
            item: "there is no image yet".to_owned(),
            errno: 0,
            remedy: "build one: `brig image build python`".to_owned(),
        })?;
        let limits = CellLimits::DEFAULT.clamped_to(&shared.config.ceilings);
        let shape = Shape::new(image, backend, limits);
        container::rehearse(shared, &shape, shared.number()).await
    };
    let (receipt, trouble) = match tried.await {
        Ok(receipt) => (Some(receipt), None),
        Err(trouble) => (None, Some(trouble)),
    };
    let probed = Reply::Probed {
        request,
        receipt,
        trouble,
    };
    shared.tell(probed, None).await;
}

/// The daemon is gone: nothing of it may run on.
async fn clean_up(shared: &Arc<Shared>) {
    let cells = {
        let mut state = shared.state();
        state.closing = true;
        std::mem::take(&mut state.cells)
    };
    // A cell without a sender releases itself.
    drop(cells);
    shared.pool_wake.notify_one();
    shared.tasks.close();
    // Containers of the pool relay until they are removed, so they go before the tasks are waited for, and again after.
    empty_pool(shared).await;
    while !shared.tasks.is_empty() {
        let done = tokio::time::timeout(Duration::from_millis(50), shared.tasks.wait());
        if done.await.is_err() {
            empty_pool(shared).await;
        }
    }
}

async fn empty_pool(shared: &Shared) {
    let ready = shared.state().pool.drain(|_| true);
    for warm in ready {
        container::remove(shared, &warm.container.id).await;
    }
}
