//! Puts the parts together, and takes them apart again in order.
//!
//! ```text
//!  start:  recover store ─▶ sweep files ─▶ try host ─▶ dispatcher, rescuer, cleaner ─▶ serve
//!  stop:   1st signal: accept nothing, start nothing, let running jobs end ─▶ deadline or 2nd signal: give them
//!          up, record that ─▶ end streams ─▶ end connections
//! ```

use crate::config::Config;
use crate::engine::{Engine, EngineSettings, dispatch};
use crate::exit_code::ExitCode;
use crate::grpc::Services;
use crate::grpc::connection::Listeners;
use crate::maintenance::{backend_watch, cleaner, rescuer};
use crate::metrics::{self, Audience, Metrics};
use crate::{HostCheck, Parts, ServeError, Shutdown};
use brig_core::backend::{HostReport, Obstacle};
use brig_core::spec::IsolationLevel;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

/// How long given-up jobs have to record their end.
const GIVE_UP: Duration = Duration::from_secs(5);
/// How long open connections have to end: a silent one never does by itself.
const HANG_UP: Duration = Duration::from_secs(2);

/// Tasks that live as long as the daemon accepts work.
struct Running {
    background: Vec<JoinHandle<()>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    health: crate::grpc::Health,
}

/// Serves until told to stop or the keeper is gone.
pub(crate) async fn serve(config: Config, parts: Parts, shutdown: Shutdown) -> Result<ExitCode, ServeError> {
    let Parts {
        store,
        backend,
        lost,
        listeners,
        host_check,
        on_ready,
    } = parts;
    let audience = if listeners.metrics.is_some() {
        Audience::Listener
    } else {
        Audience::Nobody
    };
    let metrics = Metrics::new(audience);
    let engine = Engine::new(store, backend, settings(&config), metrics);
    prepare(&engine, host_check).await?;
    let running = start(&engine, &config, listeners).await?;
    on_ready();
    info!(worker = %engine.worker, "serving");

    tokio::select! {
        () = shutdown.drain.cancelled() => {}
        () = lost => engine.backend_lost.cancel(),
        () = engine.backend_lost.cancelled() => {}
    }
    let code = stop(&engine, running, &shutdown, config.drain).await;
    if engine.backend_lost.is_cancelled() {
        Err(ServeError::KeeperLost)
    } else {
        Ok(code)
    }
}

fn settings(config: &Config) -> EngineSettings {
    EngineSettings {
        max_concurrent: config.max_concurrent,
        queue_limit: config.max_queued,
        limits: config.limits,
        isolation: config.isolation,
        lease: config.lease,
        stored_bytes: config.stored,
        files: config.files_dir(),
    }
}

/// Ends what a dead daemon left, and refuses a host that does not give what is required.
async fn prepare(engine: &Engine, host_check: HostCheck) -> Result<(), ServeError> {
    engine.files.prepare().map_err(ServeError::Files)?;
    rescuer::recover(engine).await?;
    match engine.files.sweep().await {
        Ok(0) => {}
        Ok(files) => info!(files, "left-over files were removed"),
        Err(error) => warn!(%error, "left-over files cannot be removed"),
    }
    match host_check {
        HostCheck::Skip => Ok(()),
        HostCheck::Require => {
            let report = engine
                .host()
                .await
                .map_err(|error| ServeError::Probe(Box::new(error)))?;
            require(engine, report)
        }
    }
}

fn require(engine: &Engine, report: &HostReport) -> Result<(), ServeError> {
    let level = engine.settings.isolation;
    let obstacle = report
        .levels
        .iter()
        .find(|(of, _)| *of == level)
        .and_then(|(_, obstacle)| obstacle.as_ref());
    match obstacle {
        None => Ok(()),
        Some(obstacle) => Err(ServeError::HostLacks {
            level: level.word(),
            problem: obstacle.problem.clone(),
            remedy: format!("{}{}", obstacle.remedy, lower_level(level, report)),
        }),
    }
}

/// How to serve with less, where that works: a service does so only when it is told to.
fn lower_level(level: IsolationLevel, report: &HostReport) -> &'static str {
    let works = |(of, obstacle): &(IsolationLevel, Option<Obstacle>)| {
        *of == IsolationLevel::Workstation && obstacle.is_none()
    };
    if level == IsolationLevel::Strict && report.levels.iter().any(works) {
        "\nthe level `workstation` works here: a service takes it with isolation = \"workstation\" in the file of --config"
    } else {
        ""
    }
}

async fn start(
    engine: &Arc<Engine>,
    config: &Config,
    mut listeners: Listeners,
) -> Result<Running, ServeError> {
    let metrics_listener = listeners.metrics.take();
    let incoming = listeners.incoming().map_err(|source| ServeError::Listen {
        address: "the bound sockets".to_owned(),
        source,
    })?;
    let services = Services::new(engine).map_err(|error| ServeError::Internal(Box::new(error)))?;
    let health = services.health.clone();
    health.serving().await;

    // Not the engine's own tracker: these end when told to, not when the work is done.
    let tasks = TaskTracker::new();
    let mut background = vec![
        tasks.spawn(dispatch::run(Arc::clone(engine))),
        tasks.spawn(rescuer::run(Arc::clone(engine))),
        tasks.spawn(cleaner::run(Arc::clone(engine), config.retention)),
        tasks.spawn(backend_watch::run(Arc::clone(engine), health.clone())),
    ];
    if let Some(listener) = metrics_listener {
        background.push(tasks.spawn(metrics::serve(Arc::clone(engine), listener)));
    }
    let server = tasks.spawn(services.serve(incoming, engine.streams_end.clone()));
    Ok(Running {
        background,
        server,
        health,
    })
}

/// Lets running jobs end, gives up those that do not, and hangs up.
async fn stop(engine: &Engine, running: Running, shutdown: &Shutdown, deadline: Duration) -> ExitCode {
    let Running {
        mut background,
        mut server,
        health,
    } = running;
    health.not_serving().await;
    engine.draining.cancel();
    // A claim that was begun is finished, and its job run.
    let dispatcher = background.remove(0);
    if dispatcher.await.is_err() {
        warn!("the dispatcher had failed");
    }
    engine.tasks.close();
    let mut code = ExitCode::Clean;
    if !engine.backend_lost.is_cancelled() {
        info!(deadline = ?deadline, "draining");
        tokio::select! {
            () = engine.tasks.wait() => {}
            () = tokio::time::sleep(deadline) => warn!("the deadline has passed; running jobs are given up"),
            () = engine.backend_lost.cancelled() => {}
            () = shutdown.stop.cancelled() => {
                warn!("told again to stop; running jobs are given up");
                code = ExitCode::Forced;
            }
        }
    }
    engine.give_up_running();
    if tokio::time::timeout(GIVE_UP, engine.tasks.wait()).await.is_err() {
        warn!("some jobs did not record their end; the next start records them as interrupted");
    }
    engine.streams_end.cancel();
    for task in background {
        task.abort();
    }
    if tokio::time::timeout(HANG_UP, &mut server).await.is_err() {
        server.abort();
    }
    info!("stopped");
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use IsolationLevel::{Strict, Workstation};

    #[test]
    fn a_lower_level_is_named_only_where_it_works() {
        let lacks = || Obstacle {
            problem: "x".to_owned(),
            remedy: "y".to_owned(),
        };
        let report = |workstation| HostReport {
            receipt: brig_core::Receipt {
                backend: "fake".to_owned(),
                level: "workstation".to_owned(),
                image: "host".to_owned(),
                cell: "on_demand".to_owned(),
                layers: Vec::new(),
            },
            levels: vec![(Strict, Some(lacks())), (Workstation, workstation)],
        };
        assert!(lower_level(Strict, &report(None)).contains("workstation"));
        assert_eq!(lower_level(Strict, &report(Some(lacks()))), "");
        assert_eq!(lower_level(Workstation, &report(None)), "");
    }
}
