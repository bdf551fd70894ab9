//! What one job costs in the backend, without engine, store and wire: `cargo run --release -p brig-backend --example
//! job_cost [ROUNDS]`, after building `brig-jail-init` and the example `backend_keeper`. Medians in milliseconds,
//! interleaved with the bare interpreter.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring program: it prints, and starts what it compares with"
)]

use async_trait::async_trait;
use brig_backend::images::ImageCatalog;
use brig_backend::{Compile, JailBackend, JailConfig};
use brig_core::backend::{Backend, Bulk, CellRequest, Execution, OutputPiece, OutputSink, Start};
use brig_core::id::JobId;
use brig_core::limits::LimitsPolicy;
use brig_core::spec::{BackendName, ImageName, IsolationLevel, NetworkPolicy};
use brig_jail::embedded::spawn_keeper;
use brig_jail::keeper::KeeperConfig;
use brig_jail::remedy::HostSigns;
use std::error::Error;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;

#[derive(Debug)]
struct Ignore;

#[async_trait]
impl OutputSink for Ignore {
    async fn output(&self, _piece: OutputPiece) {}
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(100), |rounds| rounds.parse())?;
    let here = std::env::current_exe()?;
    let init = here.with_file_name("../brig-jail-init");
    let config = serde_json::to_string(&KeeperConfig::new(Vec::new(), "job-cost"))?;
    let init = init.to_str().ok_or("a path that is text")?;
    let (link, mut keeper) = spawn_keeper(&here.with_file_name("backend_keeper"), [config.as_str(), init])?;
    let config = JailConfig {
        python: "/usr/bin/python3".to_owned(),
        images: ImageCatalog::default(),
        compile: Compile::Never,
        signs: HostSigns::gather(),
    };
    let backend = JailBackend::start(link, config, &TaskTracker::new())?;
    let report = backend.probe().await?;
    let works = report.levels.iter().find(|(_, obstacle)| obstacle.is_none());
    let level = works.ok_or("no level works here")?.0;

    let mut columns: [Vec<Duration>; 5] = Default::default();
    for round in 0..rounds {
        if round == rounds / 2 {
            backend.warm_up(level, &LimitsPolicy::default().default).await?;
        }
        let started = Instant::now();
        Command::new("/usr/bin/python3")
            .args(["-I", "-c", "print(1)"])
            .output()?;
        columns[0].push(started.elapsed());
        let times = job(&backend, level).await?;
        let warm = usize::from(round >= rounds / 2);
        columns[1].push(times[0]);
        columns[2 + warm].push(times[1]);
        columns[4].push(times[2]);
    }
    let names = [
        "bare",
        "open",
        "exec, runner from source",
        "exec, compiled runner",
        "destroy",
    ];
    for (name, column) in names.into_iter().zip(&mut columns) {
        column.sort();
        println!(
            "{name:28} {:7.2} ms",
            column[column.len() / 2].as_secs_f64() * 1e3
        );
    }
    drop(backend);
    keeper.wait()?;
    Ok(())
}

async fn job(backend: &JailBackend, level: IsolationLevel) -> Result<[Duration; 3], Box<dyn Error>> {
    let limits = LimitsPolicy::default().default;
    let request = CellRequest {
        job: JobId::generate(),
        backend: BackendName::jail(),
        image: ImageName::host(),
        isolation: level,
        network: NetworkPolicy::None,
        limits,
    };
    let start = Start::Python {
        code: b"print(1)".to_vec(),
        file: None,
        args: vec![],
    };
    let stdin = Bulk::Memory(vec![]);
    let execution = Execution {
        start,
        env: vec![],
        redact: vec![],
        stdin,
        lease_until: std::time::Instant::now() + Duration::from_secs(60),
    };
    let begun = Instant::now();
    let mut cell = backend.open(&request).await?;
    let opened = Instant::now();
    cell.exec(execution, Arc::new(Ignore)).await?;
    let ended = Instant::now();
    cell.destroy().await?;
    Ok([opened - begun, ended - opened, ended.elapsed()])
}
