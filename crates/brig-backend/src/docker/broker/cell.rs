//! A leased container: one task that takes the daemon's commands, keeps the broker's deadlines, and tells how it ended.

use super::container::{self, Container};
use super::shared::Shared;
use super::watch::{Decision, Spans, Watch};
use crate::docker::protocol::{CellNumber, ContainerFacts, Reply, WhyGone};
use brig_jail::protocol::KillReason;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a killed container may take to be gone before the broker helps.
const DYING: Duration = Duration::from_secs(3);
/// How long the engine may take to tell how a container ended.
const TELLING: Duration = Duration::from_secs(1);

/// What the daemon wants of a cell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    Start(Spans),
    Renew(Duration),
    Kill(KillReason),
    Facts,
    Release,
}

/// A leased container and what is known of it.
struct Cell {
    shared: Arc<Shared>,
    number: CellNumber,
    container: Container,
    watch: Watch,
    /// The last that was counted, once it is gone.
    gone: Option<ContainerFacts>,
    /// Of the engine's lives, the one in which the container was given out.
    generation: u64,
}

/// Serves one cell until it is released.
pub(super) async fn serve(
    shared: Arc<Shared>,
    number: CellNumber,
    container: Container,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let watch = Watch::opened(shared.config.wall_ceiling, Instant::now());
    let generation = shared.generation();
    let mut cell = Cell {
        shared,
        number,
        container,
        watch,
        gone: None,
        generation,
    };
    loop {
        let until = match cell.decide() {
            Decision::Wait(until) => until,
            Decision::Overrun => {
                cell.tell(Reply::Overrun {
                    cell: number,
                    reason: KillReason::CpuTime,
                })
                .await;
                continue;
            }
            Decision::Kill(reason) => {
                cell.kill(reason).await;
                continue;
            }
        };
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Start(spans)) => cell.start(spans),
                Some(Command::Renew(lease)) => cell.watch.renew(lease, Instant::now()),
                Some(Command::Kill(reason)) => cell.kill(reason).await,
                Some(Command::Facts) => cell.told_to_count().await,
                // No sender left: the broker ends.
                Some(Command::Release) | None => return cell.release().await,
            },
            () = cell.container.relay.ended.cancelled(), if cell.gone.is_none() => cell.ended().await,
            () = tokio::time::sleep_until(until.into()) => {}
        }
    }
}

impl Cell {
    fn decide(&mut self) -> Decision {
        let now = Instant::now();
        if self.gone.is_some() {
            return Decision::Wait(now + Duration::from_secs(3_600));
        }
        self.watch.decide(now, self.container.groups.cpu_used())
    }

    async fn tell(&self, reply: Reply) {
        self.shared.tell(reply, None).await;
    }

    fn start(&mut self, spans: Spans) {
        let used = self.container.groups.cpu_used().unwrap_or_default();
        let millis = self.container.receipt.limits.cpu_millis;
        self.watch.start(spans, used, millis, Instant::now());
    }

    /// What the kernel counted until now, for the program.
    fn count(&self) -> ContainerFacts {
        let facts = self.container.groups.facts();
        let program = self.watch.program_cpu(Duration::from_nanos(facts.cpu_nanos));
        ContainerFacts {
            cpu_nanos: u64::try_from(program.as_nanos()).unwrap_or(u64::MAX),
            ..facts
        }
    }

    async fn told_to_count(&mut self) {
        let facts = match self.gone {
            Some(facts) => facts,
            None => {
                self.watch.collect(Instant::now());
                self.count()
            }
        };
        let cell = self.number;
        self.tell(Reply::Facts { cell, facts }).await;
    }

    async fn kill(&mut self, reason: KillReason) {
        if self.gone.is_some() {
            return;
        }
        // The group goes with the container.
        let facts = self.count();
        self.end_processes().await;
        self.tell_gone(WhyGone::Killed { reason }, facts).await;
    }

    async fn end_processes(&self) {
        container::kill(&self.shared, &self.container).await;
        let ended = self.container.relay.ended.cancelled();
        if tokio::time::timeout(DYING, ended).await.is_err() {
            let gone = self.container.groups.kill_all().await;
            tracing::warn!(gone, "the engine does not tell that a killed container is gone");
        }
    }

    async fn tell_gone(&mut self, why: WhyGone, facts: ContainerFacts) {
        self.gone = Some(facts);
        let cell = self.number;
        self.tell(Reply::Gone { cell, why, facts }).await;
    }

    /// The container's stream ended, and nobody here asked for that.
    async fn ended(&mut self) {
        let mut facts = self.count();
        let end = self.shared.end_of(&self.container.id, TELLING).await;
        facts.exit_code = end.exit_code;
        facts.oom_killed = end.exit_code.map(|_| end.out_of_memory);
        let engine_lost =
            self.shared.generation() != self.generation || self.shared.engine.ping().await.is_err();
        let why = if engine_lost {
            // Nothing may run on that nobody can reach any more.
            self.container.groups.kill_all().await;
            WhyGone::EngineLost
        } else if end.out_of_memory && end.exit_code == Some(137) {
            WhyGone::OutOfMemory
        } else {
            WhyGone::ByHand
        };
        self.tell_gone(why, facts).await;
    }

    async fn release(self) {
        if self.gone.is_none() && !self.shared.engine.answers() {
            self.container.groups.kill_all().await;
        }
        container::remove(&self.shared, &self.container.id).await;
        self.shared.released(self.number);
        let cell = self.number;
        self.tell(Reply::Released { cell }).await;
    }
}
