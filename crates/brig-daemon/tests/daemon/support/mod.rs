//! A daemon inside the test, served on a unix socket, with the real store and a scripted backend.

pub(crate) mod fake;

use brig_api::pb;
use brig_api::pb::execution_service_client::ExecutionServiceClient;
use brig_api::pb::file_service_client::FileServiceClient;
use brig_api::pb::job_event::Body;
use brig_core::store::JobKeeper;
use brig_daemon::config::ListenAddress;
use brig_daemon::{Config, ExitCode, HostCheck, Listeners, Parts, ServeError, Shutdown};
use brig_store::SqliteStore;
use fake::Fake;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) backend: Fake,
    pub(crate) shutdown: Shutdown,
    pub(crate) data: Arc<TempDir>,
    store: Arc<SqliteStore>,
    task: Option<JoinHandle<Result<ExitCode, ServeError>>>,
    channel: Channel,
    /// Its own, so that it can be stopped as a crash would: in the middle of everything.
    runtime: Option<Runtime>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(Arc::new(TempDir::new().unwrap()), Fake::new(), change).await
    }

    /// A daemon on an existing data directory.
    pub(crate) async fn start_on(
        data: Arc<TempDir>,
        backend: Fake,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let socket = data.path().join("brig.sock");
        let mut config = Config {
            listen: vec![ListenAddress::Unix(socket.clone())],
            data: data.path().to_owned(),
            ..Config::default()
        };
        change(&mut config);
        let shutdown = Shutdown::new();
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let opening = (runtime.handle().clone(), data.path().to_owned());
        let store = tokio::task::spawn_blocking(move || opening.0.block_on(SqliteStore::open(&opening.1)));
        let store = Arc::new(store.await.unwrap().unwrap());
        let serving = {
            let (backend, shutdown) = (backend.clone(), shutdown.clone());
            let store = Arc::clone(&store);
            async move {
                let parts = Parts {
                    store,
                    lost: Box::pin(backend.lost().cancelled_owned()),
                    backend: Arc::new(backend),
                    listeners: Listeners::bind(&config).unwrap(),
                    host_check: HostCheck::Require,
                    on_ready: Box::new(|| ready.send(()).expect("the test waits")),
                };
                brig_daemon::serve(config, parts, shutdown).await
            }
        };
        let task = runtime.spawn(serving);
        is_ready.await.unwrap();
        Self {
            backend,
            shutdown,
            data,
            store,
            task: Some(task),
            channel: connect(&socket).await,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn client(&self) -> ExecutionServiceClient<Channel> {
        ExecutionServiceClient::new(self.channel.clone())
    }

    pub(crate) fn files(&self) -> FileServiceClient<Channel> {
        FileServiceClient::new(self.channel.clone())
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A connection of its own, so that closing it is a client that goes away.
    pub(crate) async fn other_client(&self) -> ExecutionServiceClient<Channel> {
        ExecutionServiceClient::new(connect(&self.data.path().join("brig.sock")).await)
    }

    /// Waits for the daemon's own end.
    pub(crate) async fn ended(mut self) -> Result<ExitCode, ServeError> {
        self.task.take().unwrap().await.unwrap()
    }

    /// Stops it in the middle of everything: nothing is recorded any more.
    pub(crate) async fn crash(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(std::time::Duration::from_secs(5)))
            .await
            .unwrap();
    }

    /// Ends every running job in the store, as another daemon would that takes this one for dead.
    pub(crate) async fn take_over(&self) {
        let nobody = brig_core::WorkerId::generate();
        let changed = self
            .store
            .recover(nobody, brig_core::Timestamp::now())
            .await
            .unwrap();
        assert!(!changed.is_empty());
    }

    pub(crate) async fn submit(&self, spec: pb::JobSpec) -> String {
        let request = pb::SubmitRequest {
            spec: Some(spec),
            idempotency_key: String::new(),
        };
        self.client().submit(request).await.unwrap().into_inner().job_id
    }

    pub(crate) async fn execute(&self, spec: pb::JobSpec) -> Result<Streaming<pb::ExecuteResponse>, Status> {
        let request = pb::ExecuteRequest {
            spec: Some(spec),
            ..Default::default()
        };
        Ok(self.client().execute(request).await?.into_inner())
    }

    pub(crate) async fn get(&self, job_id: &str) -> pb::Job {
        let request = pb::GetRequest {
            job_id: job_id.to_owned(),
        };
        self.client()
            .get(request)
            .await
            .unwrap()
            .into_inner()
            .job
            .unwrap()
    }

    pub(crate) async fn watch(&self, job_id: &str, from_seq: u64) -> Streaming<pb::WatchResponse> {
        let request = pb::WatchRequest {
            job_id: job_id.to_owned(),
            from_seq,
        };
        self.client().watch(request).await.unwrap().into_inner()
    }

    /// The record of a job once it has ended.
    pub(crate) async fn end_of(&self, job_id: &str) -> pb::Job {
        let mut events = self.watch(job_id, 1).await;
        loop {
            let event = events.message().await.unwrap().expect("an end").event.unwrap();
            if let Some(Body::Ended(ended)) = event.body {
                return *ended.job.unwrap();
            }
        }
    }

    pub(crate) async fn cancel(&self, job_id: &str) -> Result<pb::JobState, Status> {
        let request = pb::CancelRequest {
            job_id: job_id.to_owned(),
        };
        Ok(self.client().cancel(request).await?.into_inner().state())
    }
}

async fn connect(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display()))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// A spec that runs this script.
pub(crate) fn script(code: &str) -> pb::JobSpec {
    let source = pb::content::Source::Inline(code.as_bytes().to_vec());
    let python = pb::PythonProgram {
        code: Some(pb::Content { source: Some(source) }),
        ..Default::default()
    };
    pb::JobSpec {
        program: Some(pb::Program {
            kind: Some(pb::program::Kind::Python(python)),
        }),
        ..Default::default()
    }
}

/// Everything that Execute told.
pub(crate) async fn all_events(mut stream: Streaming<pb::ExecuteResponse>) -> Vec<pb::JobEvent> {
    let mut events = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        events.push(message.event.unwrap());
    }
    events
}

/// Everything that Watch told.
pub(crate) async fn all_watched(mut stream: Streaming<pb::WatchResponse>) -> Vec<pb::JobEvent> {
    let mut events = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        events.push(message.event.unwrap());
    }
    events
}

/// The bytes of one stream.
pub(crate) fn output(events: &[pb::JobEvent], of: pb::OutputStream) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        if let Some(Body::Output(output)) = &event.body
            && output.stream() == of
        {
            all.extend_from_slice(&output.data);
        }
    }
    all
}

/// The record that the last event carries.
pub(crate) fn ended(events: &[pb::JobEvent]) -> pb::Job {
    match events.last().and_then(|event| event.body.clone()) {
        Some(Body::Ended(ended)) => *ended.job.unwrap(),
        other => panic!("the last event is {other:?}"),
    }
}

/// The numbers of the events.
pub(crate) fn numbers(events: &[pb::JobEvent]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

/// The word of a job's end.
pub(crate) fn failure_kind(job: &pb::Job) -> Option<pb::FailureKind> {
    match &job.result {
        Some(pb::job::Result::Failure(failure)) => Some(failure.kind()),
        _ => None,
    }
}

/// The word of what a program did.
pub(crate) fn verdict_kind(job: &pb::Job) -> Option<pb::VerdictKind> {
    match &job.result {
        Some(pb::job::Result::Outcome(outcome)) => outcome.verdict.as_ref().map(pb::Verdict::kind),
        _ => None,
    }
}
