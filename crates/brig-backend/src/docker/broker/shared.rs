//! What the broker's tasks share. No lock is held while anything is waited for.

use super::cell::Command;
use super::config::BrokerConfig;
use super::container::Container;
use super::engine::{Deadlines, Engine, EngineFacts};
use super::health::{self, Said};
use super::image::Images;
use super::leftovers::BrokerId;
use super::pool::Pool;
use crate::docker::protocol::{BackendName, CellNumber, HealthState, PoolCounts, Reply, Trouble};
use brig_jail::policy::EngineProfile;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::task::TaskTracker;

/// A container that is kept ready.
#[derive(Debug)]
pub(super) struct Warm {
    pub(super) number: CellNumber,
    pub(super) container: Container,
}

/// How the engine says that a container ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    pub(super) exit_code: Option<i64>,
    pub(super) out_of_memory: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: BrokerConfig,
    pub(super) engine: Engine,
    pub(super) images: Images,
    pub(super) profile: EngineProfile,
    pub(super) broker: BrokerId,
    pub(super) tasks: TaskTracker,
    pub(super) replies: mpsc::Sender<(Reply, Option<OwnedFd>)>,
    /// Something changed that the pool wants to know.
    pub(super) pool_wake: Notify,
    facts: watch::Sender<Option<Arc<EngineFacts>>>,
    ends_wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) cells: HashMap<CellNumber, Leased>,
    pub(super) pool: Pool<Warm>,
    /// Requests for which a container is being started.
    pub(super) opening: usize,
    /// The daemon is gone: nothing is given out any more.
    pub(super) closing: bool,
    next: CellNumber,
    owned: HashSet<String>,
    doomed: HashSet<String>,
    ends: HashMap<String, End>,
    warm_starts: HashMap<BackendName, u64>,
    cold_starts: HashMap<BackendName, u64>,
    /// Why the pool of a backend cannot be filled.
    pub(super) pool_trouble: HashMap<BackendName, String>,
    /// Why the engine cannot be asked.
    engine_trouble: Option<String>,
    /// How often the engine was lost.
    generation: u64,
}

/// A cell that the daemon has.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) backend: BackendName,
}

/// More ends than this that nobody asks for are not remembered.
const ENDS: usize = 1_024;

/// Numbers that no earlier broker used: the time of this one's start comes first.
fn first_number() -> CellNumber {
    // A million cells a second would have to be opened to meet the numbers of the next broker.
    brig_jail::boot_time::now_nanos() / 1_000
}

impl Shared {
    pub(super) fn new(
        config: BrokerConfig,
        init: &'static [u8],
        profile: EngineProfile,
        replies: mpsc::Sender<(Reply, Option<OwnedFd>)>,
    ) -> Shared {
        Shared {
            engine: Engine::new(config.socket.clone(), Deadlines::DEFAULT),
            images: Images::new(config.images_dirs.clone(), init),
            profile,
            broker: BrokerId::own(),
            tasks: TaskTracker::new(),
            replies,
            pool_wake: Notify::new(),
            facts: watch::Sender::new(None),
            ends_wake: Notify::new(),
            state: Mutex::new(State {
                cells: HashMap::new(),
                pool: Pool::new(config.warm),
                opening: 0,
                closing: false,
                next: first_number(),
                owned: HashSet::new(),
                doomed: HashSet::new(),
                ends: HashMap::new(),
                warm_starts: HashMap::new(),
                cold_starts: HashMap::new(),
                pool_trouble: HashMap::new(),
                engine_trouble: None,
                generation: 0,
            }),
            config,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the daemon. Waits while it takes nothing; one that is gone is noticed elsewhere.
    pub(super) async fn tell(&self, reply: Reply, descriptor: Option<OwnedFd>) {
        self.replies.send((reply, descriptor)).await.ok();
    }

    /// A number for a cell.
    pub(super) fn number(&self) -> CellNumber {
        let mut state = self.state();
        state.next += 1;
        state.next
    }

    /// A container of ours exists.
    pub(super) fn own(&self, id: &str) {
        self.state().owned.insert(id.to_owned());
    }

    /// It is gone.
    pub(super) fn disown(&self, id: &str) {
        let mut state = self.state();
        state.owned.remove(id);
        state.ends.remove(id);
    }

    /// A container, by id or name, is to be removed when the engine answers again.
    pub(super) fn doom(&self, id: String) {
        self.state().doomed.insert(id);
    }

    /// It was removed.
    pub(super) fn forgive(&self, id: &str) {
        self.disown(id);
        self.state().doomed.remove(id);
    }

    pub(super) fn doomed(&self) -> Vec<String> {
        self.state().doomed.iter().cloned().collect()
    }

    pub(super) fn has_doomed(&self) -> bool {
        !self.state().doomed.is_empty()
    }

    /// A cell is over.
    pub(super) fn released(&self, number: CellNumber) {
        self.state().cells.remove(&number);
        self.pool_wake.notify_one();
    }

    /// A cell was given out.
    pub(super) fn count_start(&self, backend: &BackendName, how: crate::docker::protocol::How) {
        let mut state = self.state();
        let counts = match how {
            crate::docker::protocol::How::Warm => &mut state.warm_starts,
            crate::docker::protocol::How::Cold => &mut state.cold_starts,
        };
        *counts.entry(backend.clone()).or_default() += 1;
    }

    pub(super) fn engine_found(&self, facts: EngineFacts) {
        self.state().engine_trouble = None;
        self.facts.send_replace(Some(Arc::new(facts)));
        self.pool_wake.notify_one();
    }

    /// The engine is gone. Containers that waited in the pool are of no use any more.
    pub(super) fn engine_gone(&self, why: String) {
        let mut state = self.state();
        state.engine_trouble = Some(why);
        if self.facts.send_replace(None).is_some() {
            state.generation += 1;
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.state().generation
    }

    /// What the engine says of itself; waited for where it was not asked yet.
    pub(super) async fn engine_facts(&self) -> Result<Arc<EngineFacts>, Trouble> {
        let mut facts = self.facts.subscribe();
        let found = tokio::time::timeout(self.engine.deadlines.quick, async {
            loop {
                if let Some(facts) = facts.borrow_and_update().clone() {
                    return Some(facts);
                }
                if !self.engine.answers() {
                    return None;
                }
                // It may be given up meanwhile, which no news of the engine tells.
                let pause = tokio::time::sleep(Duration::from_millis(100));
                tokio::select! {
                    changed = facts.changed() => changed.ok()?,
                    () = pause => {}
                }
            }
        });
        found.await.ok().flatten().ok_or_else(|| self.engine_refusal())
    }

    /// Why no request is carried out now.
    pub(super) fn engine_refusal(&self) -> Trouble {
        let socket = self.config.socket.display();
        let why = self.state().engine_trouble.clone();
        Trouble {
            stage: "engine".to_owned(),
            item: why.unwrap_or_else(|| format!("the engine at {socket} does not answer")),
            errno: 0,
            remedy: format!(
                "start the engine (`systemctl start docker`) or name its socket (`socket` in `[docker]`, now {socket}); `brig doctor` tells more"
            ),
        }
    }

    /// The runtime of a backend, and the program behind it.
    pub(super) fn runtime(
        &self,
        engine: &EngineFacts,
        backend: &BackendName,
    ) -> Result<(String, String), Trouble> {
        let Some(runtime) = self.config.backends.get(backend) else {
            let known: Vec<&str> = self.config.backends.keys().map(BackendName::as_str).collect();
            return Err(Trouble {
                stage: "request".to_owned(),
                item: format!(
                    "no backend {backend} is configured; there are: {}",
                    known.join(", ")
                ),
                errno: 0,
                remedy: format!("configure it: `[docker.backends.{backend}]` with a `runtime`"),
            });
        };
        let Some(runtimes) = &engine.info.runtimes else {
            return Ok((runtime.clone(), runtime.clone()));
        };
        match runtimes.get(runtime) {
            Some(found) => {
                let program = found.path.clone().filter(|path| !path.is_empty());
                Ok((runtime.clone(), program.unwrap_or_else(|| runtime.clone())))
            }
            None => Err(Trouble {
                stage: "engine".to_owned(),
                item: format!(
                    "the engine has no runtime {runtime}; it has: {}",
                    health::runtimes(engine).join(", ")
                ),
                errno: 0,
                remedy: format!(
                    "install {runtime} and name it in the engine's configuration (`runtimes` in /etc/docker/daemon.json)"
                ),
            }),
        }
    }

    pub(super) fn note_oom(&self, id: &str) {
        self.note(id, |end| end.out_of_memory = true);
    }

    pub(super) fn note_end(&self, id: &str, code: Option<i64>) {
        self.note(id, |end| end.exit_code = Some(code.unwrap_or(-1)));
        self.ends_wake.notify_waiters();
    }

    fn note(&self, id: &str, change: impl FnOnce(&mut End)) {
        let mut state = self.state();
        // Only of containers that are ours now: others' ends are nobody's business.
        if state.owned.contains(id) && state.ends.len() < ENDS {
            change(state.ends.entry(id.to_owned()).or_default());
        }
    }

    /// How the engine says that a container ended, waiting for it at most this long.
    pub(super) async fn end_of(&self, id: &str, patience: Duration) -> End {
        let known = |state: &State| state.ends.get(id).copied().unwrap_or_default();
        let told = async {
            loop {
                let news = self.ends_wake.notified();
                let end = known(&self.state());
                if end.exit_code.is_some() {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(patience, told).await.ok();
        known(&self.state())
    }

    /// Every backend as it is now.
    pub(super) fn health(&self) -> Vec<(BackendName, Said)> {
        let facts = self.facts.borrow().clone();
        let backends = self.config.backends.keys();
        backends
            .map(|backend| {
                let (state, why) = self.health_of(backend, facts.as_deref());
                (backend.clone(), (state, why, self.counts(backend)))
            })
            .collect()
    }

    fn health_of(&self, backend: &BackendName, facts: Option<&EngineFacts>) -> (HealthState, String) {
        if !self.engine.answers() {
            return (HealthState::Unavailable, self.engine_refusal().item);
        }
        let Some(facts) = facts else {
            return (
                HealthState::Unavailable,
                "the engine was not found yet".to_owned(),
            );
        };
        if let Err(trouble) = self.runtime(facts, backend) {
            return (HealthState::Unavailable, trouble.item);
        }
        match self.state().pool_trouble.get(backend) {
            Some(why) => {
                let why = format!("no containers can be kept ready, cells start cold: {why}");
                (HealthState::Degraded, why)
            }
            None => (HealthState::Serving, String::new()),
        }
    }

    fn counts(&self, backend: &BackendName) -> PoolCounts {
        let state = self.state();
        let short = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let leased = state
            .cells
            .values()
            .filter(|cell| cell.backend == *backend)
            .count();
        PoolCounts {
            warm: short(state.pool.count(|shape| shape.backend == *backend)),
            leased: short(leased),
            warm_starts: state.warm_starts.get(backend).copied().unwrap_or(0),
            cold_starts: state.cold_starts.get(backend).copied().unwrap_or(0),
        }
    }
}
