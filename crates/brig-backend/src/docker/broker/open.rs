//! Requests for cells, and the containers that are kept ready for them.

use super::cell;
use super::container::{self, Container, Shape};
use super::shared::Shared;
use super::shared::{Leased, Warm};
use crate::docker::protocol::{CellNumber, ContainerReceipt, How, Reply, RequestNumber, Trouble};
use brig_jail::protocol::CellLimits;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tracing::warn;
use uuid::Uuid;

/// How long to wait before a pool that could not be filled is tried again.
const PAUSE: Duration = Duration::from_secs(5);
/// How often containers that nobody wants are looked for.
const TICK: Duration = Duration::from_secs(1);

/// What a request for a cell says.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) request: RequestNumber,
    pub(super) shape: Shape,
    /// The limits as requested, clamped: the shape leaves some out.
    pub(super) limits: CellLimits,
    pub(super) job: Uuid,
    pub(super) how: Option<How>,
}

/// Answers a request for a cell.
pub(super) async fn open(shared: Arc<Shared>, wanted: Wanted) {
    let request = wanted.request;
    match lease(&shared, &wanted).await {
        Ok((number, container, how)) => give(&shared, wanted, number, container, how).await,
        Err(trouble) => shared.tell(Reply::Refused { request, trouble }, None).await,
    }
}

async fn give(shared: &Arc<Shared>, wanted: Wanted, number: CellNumber, mut container: Container, how: How) {
    let Some(wire) = container.relay.wire.take() else {
        container::remove(shared, &container.id).await;
        let trouble = busy("the container was given away already");
        let request = wanted.request;
        return shared.tell(Reply::Refused { request, trouble }, None).await;
    };
    container.receipt.limits = wanted.limits;
    let receipt = ContainerReceipt {
        limits: wanted.limits,
        ..container.receipt.clone()
    };
    let backend = wanted.shape.backend.clone();
    let (commands, listener) = mpsc::unbounded_channel();
    let closing = {
        let mut state = shared.state();
        state.pool.remember(&wanted.shape, Instant::now());
        let backend = backend.clone();
        if !state.closing {
            state.cells.insert(number, Leased { commands, backend });
        }
        state.closing
    };
    if closing {
        return container::remove(shared, &container.id).await;
    }
    shared.count_start(&backend, how);
    if how == How::Warm {
        let (shared, id) = (Arc::clone(shared), container.id.clone());
        let name = container::job_name(wanted.job, number);
        let tasks = shared.tasks.clone();
        tasks.spawn(async move { container::rename(&shared, &id, &name).await });
    }
    let opened = Reply::Opened {
        request: wanted.request,
        cell: number,
        how,
        receipt,
    };
    shared.tell(opened, Some(wire)).await;
    shared
        .tasks
        .spawn(cell::serve(Arc::clone(shared), number, container, listener));
}

fn busy(why: &str) -> Trouble {
    Trouble {
        stage: "request".to_owned(),
        item: why.to_owned(),
        errno: 11,
        remedy: "wait for a job to end, or allow fewer jobs at once".to_owned(),
    }
}

async fn lease(shared: &Arc<Shared>, wanted: &Wanted) -> Result<(CellNumber, Container, How), Trouble> {
    if wanted.how != Some(How::Cold) {
        while let Some(warm) = { shared.state().pool.take(&wanted.shape, Instant::now()) } {
            if warm.container.relay.ended.is_cancelled() {
                container::remove(shared, &warm.container.id).await;
                continue;
            }
            return Ok((warm.number, warm.container, How::Warm));
        }
    }
    if !shared.engine.answers() {
        return Err(shared.engine_refusal());
    }
    let evicted = make_room(shared)?;
    if let Some(warm) = evicted {
        container::remove(shared, &warm.container.id).await;
    }
    let number = shared.number();
    let started = container::start(shared, &wanted.shape, number, Some(wanted.job)).await;
    shared.state().opening -= 1;
    Ok((number, started?, How::Cold))
}

/// Takes a place for one more container, from the pool if there is no other.
fn make_room(shared: &Shared) -> Result<Option<Warm>, Trouble> {
    let mut state = shared.state();
    let leased = state.cells.len() + state.opening;
    if leased >= shared.config.max_containers {
        return Err(busy("as many containers as are allowed run already"));
    }
    let all = leased + state.pool.count(|_| true) + usize::from(state.pool.is_filling());
    let evicted = if all >= shared.config.max_containers {
        state.pool.evict()
    } else {
        None
    };
    state.opening += 1;
    Ok(evicted)
}

/// Keeps containers ready, until the broker ends. A start that is under way then is not broken off: of what it made
/// nobody would know.
pub(super) async fn fill_pool(shared: Arc<Shared>) {
    while !shared.state().closing {
        let out = {
            let mut state = shared.state();
            let mut out = state.pool.expire(Instant::now());
            out.extend(state.pool.drain(|warm| warm.container.relay.ended.is_cancelled()));
            out
        };
        for warm in out {
            container::remove(&shared, &warm.container.id).await;
        }
        match next_to_fill(&shared) {
            Some(shape) => fill(&shared, &shape).await,
            None => {
                let news = shared.pool_wake.notified();
                tokio::time::timeout(TICK, news).await.ok();
            }
        }
    }
}

fn next_to_fill(shared: &Shared) -> Option<Shape> {
    if !shared.engine.answers() {
        return None;
    }
    let mut state = shared.state();
    // Starting one competes with whoever waits for one.
    if state.opening > 0 {
        return None;
    }
    let all = state.cells.len() + state.pool.count(|_| true);
    let room = shared.config.max_containers.saturating_sub(all);
    state.pool.fill(room)
}

async fn fill(shared: &Arc<Shared>, shape: &Shape) {
    let number = shared.number();
    let started = container::start(shared, shape, number, None).await;
    let failed = {
        let mut state = shared.state();
        match started {
            Ok(container) => {
                state.pool_trouble.remove(&shape.backend);
                state
                    .pool
                    .filled(Some(Warm { number, container }), Instant::now());
                None
            }
            Err(trouble) => {
                state.pool.filled(None, Instant::now());
                let why = format!("{}: {}", trouble.stage, trouble.item);
                state.pool_trouble.insert(shape.backend.clone(), why.clone());
                Some(why)
            }
        }
    };
    if let Some(why) = failed {
        warn!(why, "no container can be kept ready");
        let woken = shared.pool_wake.notified();
        tokio::time::timeout(PAUSE, woken).await.ok();
    }
}
