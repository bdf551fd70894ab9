//! What a job costs beyond its program: Execute over a unix socket and a store on disk, with a backend that ends at once.
//!
//! `cargo run --release -p brig-daemon --example engine_cost [ROUNDS]`
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, not a part of the product"
)]

use async_trait::async_trait;
use brig_api::pb;
use brig_api::pb::execution_service_client::ExecutionServiceClient;
use brig_core::backend::{
    Backend, BackendError, BackendOffer, CellControl, CellRequest, CollectLimits, Collected, Environment,
    Execution, Exit, FileSink, HostReport, ImageOffer, OutputPiece, OutputSink, ProgramReport, Upload,
};
use brig_core::spec::{BackendName, ImageName, OutputPattern};
use brig_core::{ExitFacts, KillCause, Receipt, StreamName};
use brig_daemon::config::ListenAddress;
use brig_daemon::{Config, HostCheck, Listeners, Parts, Shutdown};
use brig_store::SqliteStore;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

struct Instantly;

#[derive(Debug)]
struct Nothing;

struct Cell(Receipt);

impl CellControl for Nothing {
    fn kill(&self, _: KillCause) {}
    fn renew(&self, _: std::time::Instant) {}
}

fn receipt() -> Receipt {
    Receipt {
        backend: "fake".into(),
        level: "strict".into(),
        image: "host".into(),
        cell: "prepared".into(),
        layers: vec![],
    }
}

#[async_trait]
impl Backend for Instantly {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn offers(&self) -> Vec<BackendOffer> {
        vec![BackendOffer {
            name: BackendName("fake".to_owned()),
            default_image: ImageName::host(),
            images: vec![ImageOffer::host()],
            trouble: None,
        }]
    }

    async fn probe(&self) -> Result<HostReport, BackendError> {
        Ok(HostReport {
            receipt: receipt(),
            levels: vec![],
        })
    }

    async fn open(&self, _: &CellRequest) -> Result<Box<dyn Environment>, BackendError> {
        Ok(Box::new(Cell(receipt())))
    }
}

#[async_trait]
impl Environment for Cell {
    fn receipt(&self) -> &Receipt {
        &self.0
    }

    fn control(&self) -> Arc<dyn CellControl> {
        Arc::new(Nothing)
    }

    async fn upload(&mut self, _: Vec<Upload>) -> Result<(), BackendError> {
        Ok(())
    }

    async fn exec(&mut self, _: Execution, output: Arc<dyn OutputSink>) -> Result<Exit, BackendError> {
        let data = b"1\n".to_vec();
        output
            .output(OutputPiece {
                stream: StreamName::Stdout,
                data,
            })
            .await;
        Ok(Exit {
            facts: ExitFacts::exited(0),
            report: ProgramReport::default(),
            stdout_bytes: 2,
            stderr_bytes: 0,
            hints: vec![],
        })
    }

    async fn download(
        &mut self,
        _: &[OutputPattern],
        _: CollectLimits,
        _: &mut dyn FileSink,
    ) -> Result<Collected, BackendError> {
        Ok(Collected::default())
    }

    async fn destroy(self: Box<Self>) -> Result<(), BackendError> {
        Ok(())
    }
}

fn request() -> pb::ExecuteRequest {
    let source = pb::content::Source::Inline(b"print(1)".to_vec());
    let python = pb::PythonProgram {
        code: Some(pb::Content { source: Some(source) }),
        ..Default::default()
    };
    pb::ExecuteRequest {
        spec: Some(pb::JobSpec {
            program: Some(pb::Program {
                kind: Some(pb::program::Kind::Python(python)),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn once(client: &mut ExecutionServiceClient<Channel>) -> Duration {
    let before = Instant::now();
    let mut events = client.execute(request()).await.unwrap().into_inner();
    while events.message().await.unwrap().is_some() {}
    before.elapsed()
}

fn print(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{name}: p50 {:.3} ms, p95 {:.3} ms, p99 {:.3} ms",
        at(50),
        at(95),
        at(99)
    );
}

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(300, |text| text.parse().unwrap());
    let runtime = Runtime::new().unwrap();
    let data = tempfile::TempDir::new_in("/var/tmp").unwrap();
    let socket = data.path().join("brig.sock");
    let store = runtime.block_on(SqliteStore::open(data.path())).unwrap();
    let config = Config {
        listen: vec![ListenAddress::Unix(socket.clone())],
        data: data.path().to_owned(),
        ..Config::default()
    };
    let listeners = Listeners::bind(&config).unwrap();
    let parts = Parts {
        store: Arc::new(store),
        backend: Arc::new(Instantly),
        lost: Box::pin(std::future::pending()),
        listeners,
        host_check: HostCheck::Skip,
        on_ready: Box::new(|| {}),
    };
    let serving = runtime.spawn(brig_daemon::serve(config, parts, Shutdown::new()));
    // The client has a runtime of its own, as another process would.
    let times = Runtime::new().unwrap().block_on(async {
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let mut client = ExecutionServiceClient::new(channel.connect().await.unwrap());
        for _ in 0..20 {
            once(&mut client).await;
        }
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(once(&mut client).await);
        }
        times
    });
    print("execute", times);
    serving.abort();
}
