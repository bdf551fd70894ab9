//! The cleaner: forgets old jobs, keys and files.

use crate::clock;
use crate::engine::Engine;
use brig_core::Timestamp;
use brig_core::store::StoreError;
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info, warn};

/// How often to look.
const EVERY: Duration = Duration::from_secs(600);

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Ended jobs, with their output and files.
    pub jobs_for: Duration,
    /// Most ended jobs.
    pub jobs: u64,
    /// Idempotency keys.
    pub keys_for: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            jobs_for: Duration::from_secs(7 * 24 * 3600),
            jobs: 100_000,
            keys_for: Duration::from_secs(48 * 3600),
        }
    }
}

/// Cleans until cancelled.
pub(crate) async fn run(engine: Arc<Engine>, retention: Retention) {
    let mut told = None;
    loop {
        let step = clock::step_of_the_system().map(|millis| millis / 1_000);
        if step != told {
            warn!(
                seconds = step.unwrap_or(0),
                "the system's clock was stepped; times in records follow it after a restart of the daemon"
            );
            told = step;
        }
        match clean(&engine, retention).await {
            Ok(0) => {}
            Ok(files) => info!(files, "files that nothing needs any more were removed"),
            Err(error) => error!(%error, "old records cannot be removed"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn clean(engine: &Engine, retention: Retention) -> Result<usize, StoreError> {
    let ago = |age: Duration| {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(clock::now().as_millis().saturating_sub(age))
    };
    let files = engine
        .store
        .purge(ago(retention.jobs_for), retention.jobs, ago(retention.keys_for))
        .await?;
    for file in &files {
        engine.files.delete(*file).await;
    }
    Ok(files.len())
}
