//! Tells health, metrics and the log how the backends are.

use crate::engine::Engine;
use crate::grpc::Health;
use brig_core::backend::{BackendState, Condition};
use brig_core::spec::BackendName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// How soon a trouble is told.
const EVERY: Duration = Duration::from_secs(1);

/// Watches until the daemon is told to stop; from then on no backend serves.
pub(crate) async fn run(engine: Arc<Engine>, health: Health) {
    let mut told: BTreeMap<BackendName, Condition> = BTreeMap::new();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = engine.draining.cancelled() => break,
        }
        for state in engine.backend.states() {
            engine.metrics.backend_state(&state);
            let before = told.insert(state.name.clone(), state.condition);
            if before == Some(state.condition) {
                continue;
            }
            health.backend(&state.name, state.condition).await;
            log(before, &state);
        }
    }
    for name in told.keys() {
        health.backend(name, Condition::Unavailable).await;
    }
}

fn log(before: Option<Condition>, state: &BackendState) {
    let BackendState {
        name,
        condition,
        why,
        ready_cells: _,
    } = state;
    match condition {
        Condition::Serving if before.is_none() => {}
        Condition::Serving => info!(backend = %name, "serves again"),
        Condition::Degraded => warn!(backend = %name, why, "does not work as it is configured to"),
        Condition::Unavailable => warn!(backend = %name, why, "gives no cells"),
    }
}
