//! The engine watched: whether it is there, what ends in it, and what to say of it.

use super::engine::EngineFacts;
use super::leftovers;
use super::plan::LABEL_INSTANCE;
use super::shared::Shared;
use crate::docker::protocol::{BackendName, HealthState, PoolCounts, Reply};
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// How often an engine that says nothing is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// How often counts are told, at most.
const TELL: Duration = Duration::from_secs(1);

/// What was said of a backend.
pub(super) type Said = (HealthState, String, PoolCounts);

/// Finds the engine, listens to it, and finds it again.
pub(super) async fn watch_engine(shared: Arc<Shared>) {
    loop {
        match shared.engine.probe().await {
            Err(pause) => tokio::time::sleep(pause).await,
            Ok(Err(error)) => {
                warn!(%error, "the engine cannot be asked");
                shared.engine_gone(error.cause.to_string());
                // A breaker that is still closed would be asked again at once.
                if shared.engine.answers() {
                    tokio::time::sleep(TELL).await;
                }
            }
            Ok(Ok(facts)) => {
                info!(name = facts.name, version = facts.version, "the engine answers");
                shared.engine_found(facts);
                listen(&shared).await;
                shared.engine_gone("the engine went away".to_owned());
            }
        }
    }
}

/// Until the engine is gone.
async fn listen(shared: &Arc<Shared>) {
    let label = format!("{LABEL_INSTANCE}={}", shared.config.instance);
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![label]),
    ]);
    let options = EventsOptionsBuilder::default().filters(&filters).build();
    let Ok(client) = shared.engine.client() else {
        return shared.engine.lost();
    };
    let mut events = std::pin::pin!(client.events(Some(options)));
    let sweeper = Arc::clone(shared);
    shared.tasks.spawn(async move {
        if let Err(error) = leftovers::sweep(&sweeper).await {
            warn!(%error, "left-over containers could not be looked for");
        }
    });
    let mut ping = interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => note(shared, event),
                Some(Err(_)) | None => return shared.engine.lost(),
            },
            _ = ping.tick() => {
                // The breaker counts; a single slow answer is no loss.
                if shared.engine.ping().await.is_err() && !shared.engine.answers() {
                    return;
                }
                if shared.has_doomed() {
                    leftovers::sweep(shared).await.ok();
                }
            }
        }
    }
}

/// What an event tells about the end of a container.
fn note(shared: &Shared, event: EventMessage) {
    let (Some(action), Some(actor)) = (event.action, event.actor) else {
        return;
    };
    let Some(id) = actor.id else { return };
    match action.as_str() {
        "oom" => shared.note_oom(&id),
        "die" => {
            let code = actor
                .attributes
                .and_then(|attributes| attributes.get("exitCode")?.parse().ok());
            shared.note_end(&id, code);
        }
        _ => {}
    }
}

/// Tells the daemon whatever changed.
pub(super) async fn tell_health(shared: Arc<Shared>) {
    let mut said: HashMap<BackendName, Said> = HashMap::new();
    let mut tick = interval(TELL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for (backend, now) in shared.health() {
            if said.get(&backend) != Some(&now) {
                let (state, why, counts) = now.clone();
                said.insert(backend.clone(), now);
                let health = Reply::Health {
                    backend,
                    state,
                    why,
                    counts,
                };
                shared.tell(health, None).await;
            }
        }
    }
}

/// The names of the runtimes that an engine has.
pub(super) fn runtimes(engine: &EngineFacts) -> Vec<String> {
    let mut names: Vec<String> = engine
        .info
        .runtimes
        .iter()
        .flat_map(HashMap::keys)
        // Other names of runc, which no person chose.
        .filter(|name| !name.starts_with("io.containerd."))
        .cloned()
        .collect();
    names.sort();
    names
}
