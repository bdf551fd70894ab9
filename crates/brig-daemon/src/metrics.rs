//! Counters and gauges as Prometheus text. Labels use the words of states and verdicts.

use crate::engine::Engine;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use brig_core::backend::{BackendState, Condition};
use brig_core::outcome::Usage;
use brig_core::spec::BackendName;
use brig_core::{EventBody, Verdict};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::error;

/// Upper bounds of histograms, from a short program to the longest.
const SECONDS: [f64; 14] = [
    0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 600.0,
];

/// The numbers of one daemon. Not a global: several daemons may live in one process.
#[derive(Clone)]
pub(crate) struct Metrics {
    kept: Option<(Arc<PrometheusRecorder>, PrometheusHandle)>,
}

/// Whether somebody can ask for the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// There is a listener.
    Listener,
    /// Nobody. A recorder spins for milliseconds to calibrate its clock: an embedded run saves that.
    Nobody,
}

impl Metrics {
    pub(crate) fn new(audience: Audience) -> Self {
        if audience == Audience::Nobody {
            return Self { kept: None };
        }
        let mut builder = PrometheusBuilder::new();
        // Without buckets a histogram becomes a summary, which nobody can add up over daemons. Never empty.
        if let Ok(with_buckets) = PrometheusBuilder::new().set_buckets(&SECONDS) {
            builder = with_buckets;
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let metrics = Self {
            kept: Some((Arc::new(recorder), handle)),
        };
        metrics.describe();
        metrics
    }

    fn describe(&self) {
        self.with(|| {
            metrics::describe_counter!("brig_jobs_accepted_total", "Jobs accepted, by method.");
            metrics::describe_counter!("brig_jobs_ended_total", "Jobs ended, by state and kind.");
            metrics::describe_counter!("brig_attempts_started_total", "Attempts started.");
            metrics::describe_gauge!(
                "brig_attempts_running",
                "Attempts that have a cell or wait for one."
            );
            metrics::describe_gauge!("brig_jobs", "Jobs in the store, by state.");
            metrics::describe_histogram!("brig_program_wall_seconds", "Wall time of programs, by kind.");
            metrics::describe_histogram!("brig_queue_seconds", "Time that jobs waited for a cell.");
            metrics::describe_counter!(
                "brig_cells_opened_total",
                "Cells given to jobs, by backend and how they were made."
            );
            metrics::describe_counter!(
                "brig_cells_refused_total",
                "Cells that could not be had, by backend."
            );
            metrics::describe_gauge!("brig_cells_ready", "Cells that wait for a job, by backend.");
            metrics::describe_gauge!("brig_backend_serving", "Whether a backend can give cells.");
            metrics::describe_gauge!(
                "brig_backend_degraded",
                "Whether a backend is not as it is configured to be."
            );
            metrics::gauge!("brig_attempts_running").set(0.0);
        });
    }

    pub(crate) fn job_accepted(&self, method: &'static str) {
        self.with(|| metrics::counter!("brig_jobs_accepted_total", "method" => method).increment(1));
    }

    pub(crate) fn attempt_started(&self) {
        self.with(|| {
            metrics::counter!("brig_attempts_started_total").increment(1);
            metrics::gauge!("brig_attempts_running").increment(1.0);
        });
    }

    /// A cell was had (`how` it was made), or not.
    pub(crate) fn cell_asked(&self, backend: &BackendName, how: Option<&str>) {
        let backend = backend.0.clone();
        self.with(|| match how {
            Some(how) => {
                let labels = [("backend", backend), ("how", how.to_owned())];
                metrics::counter!("brig_cells_opened_total", &labels).increment(1);
            }
            None => metrics::counter!("brig_cells_refused_total", "backend" => backend).increment(1),
        });
    }

    /// How a backend is now.
    pub(crate) fn backend_state(&self, state: &BackendState) {
        let backend = state.name.0.clone();
        let flag = |set: bool| if set { 1.0 } else { 0.0 };
        self.with(|| {
            let labels = [("backend", backend)];
            metrics::gauge!("brig_backend_serving", &labels)
                .set(flag(state.condition != Condition::Unavailable));
            metrics::gauge!("brig_backend_degraded", &labels)
                .set(flag(state.condition != Condition::Serving));
            if let Some(ready) = state.ready_cells {
                metrics::gauge!("brig_cells_ready", &labels).set(f64::from(ready));
            }
        });
    }

    pub(crate) fn attempt_left(&self) {
        self.with(|| metrics::gauge!("brig_attempts_running").decrement(1.0));
    }

    /// Counts a terminal event.
    pub(crate) fn job_ended(&self, end: &EventBody) {
        if let EventBody::Ended { state, kind } = end {
            let labels = [("state", state.clone()), ("kind", kind.clone())];
            self.with(|| metrics::counter!("brig_jobs_ended_total", &labels).increment(1));
        }
    }

    pub(crate) fn program_ended(&self, verdict: &Verdict, usage: &Usage) {
        self.with(|| {
            metrics::histogram!("brig_program_wall_seconds", "kind" => verdict.kind())
                .record(usage.wall.as_secs_f64());
            metrics::histogram!("brig_queue_seconds").record(usage.queue.as_secs_f64());
        });
    }

    /// The text, with the store's counts of now.
    pub(crate) fn render(&self, counts: &BTreeMap<String, u64>) -> String {
        self.with(|| {
            for state in [
                "queued",
                "running",
                "cancelling",
                "finished",
                "failed",
                "cancelled",
            ] {
                let count = counts.get(state).copied().unwrap_or(0);
                // A gauge is a float; counts beyond 2^53 do not occur.
                let count = u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
                metrics::gauge!("brig_jobs", "state" => state).set(count);
            }
        });
        // Histograms grow until somebody folds them.
        self.kept.as_ref().map_or_else(String::new, |(_, handle)| {
            handle.run_upkeep();
            handle.render()
        })
    }

    fn with(&self, record: impl FnOnce()) {
        if let Some((recorder, _)) = &self.kept {
            metrics::with_local_recorder(&**recorder, record);
        }
    }
}

/// Serves the numbers as text on `/metrics`.
pub(crate) async fn serve(engine: Arc<Engine>, listener: std::net::TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return error!(%error, "metrics cannot be served"),
    };
    let text = async |State(engine): State<Arc<Engine>>| match engine.store.counts().await {
        Ok(counts) => (StatusCode::OK, engine.metrics.render(&counts)),
        Err(error) => {
            error!(%error, "jobs cannot be counted");
            (StatusCode::INTERNAL_SERVER_ERROR, String::new())
        }
    };
    let router = Router::new()
        .route("/metrics", get(text))
        .with_state(Arc::clone(&engine));
    if let Err(error) = axum::serve(listener, router).await {
        error!(%error, "metrics are not served any more");
    }
}
