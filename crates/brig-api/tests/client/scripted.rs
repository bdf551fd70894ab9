//! A daemon that does what a script says.

use brig_api::client::RetryPolicy;
use brig_api::convert::event::{Body, Event};
use brig_api::pb::execution_service_server::{ExecutionService, ExecutionServiceServer};
use brig_api::pb::file_service_server::{FileService, FileServiceServer};
use brig_api::server::WholeRequests;
use brig_api::{BrigClient, JobRecord, pb};
use brig_core::event::StreamName;
use brig_core::id::{FileId, JobId, TenantId};
use brig_core::job::JobState;
use brig_core::limits::LimitsPolicy;
use brig_core::spec::{Durability, IsolationLevel, JobDraft, Program, SpecDefaults};
use brig_core::store::{FileRecord, Job, JobResult};
use brig_core::time::Timestamp;
use futures_util::stream::{self, BoxStream, StreamExt};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// Number of the last event of the scripted job.
pub(crate) const LAST: u64 = 9;

/// What one stream of events does.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// Events sent.
    pub(crate) seqs: Vec<u64>,
    /// How the stream ends.
    pub(crate) end: End,
}

#[derive(Debug, Clone)]
pub(crate) enum End {
    /// Without a word.
    Silent,
    /// With a status.
    Status(Status),
    /// Never.
    Hang,
}

/// A call that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Execute,
    Submit,
    Watch(u64),
    Upload(Vec<u8>),
    BrokenUpload,
}

#[derive(Debug, Default)]
struct State {
    turns: VecDeque<Turn>,
    refusals: VecDeque<Status>,
    seen: Vec<Seen>,
    download: Vec<Vec<u8>>,
}

/// The daemon, and what it saw.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) job: JobId,
    state: Arc<Mutex<State>>,
}

pub(crate) fn turn(seqs: impl IntoIterator<Item = u64>, end: End) -> Turn {
    Turn {
        seqs: seqs.into_iter().collect(),
        end,
    }
}

pub(crate) fn away() -> End {
    End::Status(Status::unavailable("away"))
}

pub(crate) fn draft() -> JobDraft {
    JobDraft::new(Program::Command {
        argv: vec!["true".into()],
    })
}

/// Tries again, but fast.
pub(crate) fn eager() -> RetryPolicy {
    let millis = Duration::from_millis;
    RetryPolicy {
        first: millis(1),
        longest: millis(4),
        patience: millis(200),
    }
}

/// Runs servers until it is dropped.
pub(crate) type Running = JoinSet<()>;

impl Daemon {
    pub(crate) fn with_turns(turns: impl IntoIterator<Item = Turn>) -> Self {
        let daemon = Self {
            job: JobId::generate(),
            state: Arc::default(),
        };
        daemon.state.lock().unwrap().turns.extend(turns);
        daemon
    }

    pub(crate) fn refusing(self, refusals: impl IntoIterator<Item = Status>) -> Self {
        self.state.lock().unwrap().refusals.extend(refusals);
        self
    }

    pub(crate) fn downloading(self, parts: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.state.lock().unwrap().download.extend(parts);
        self
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    fn note(&self, seen: Seen) {
        self.state.lock().unwrap().seen.push(seen);
    }

    fn refusal(&self) -> Result<(), Status> {
        self.state
            .lock()
            .unwrap()
            .refusals
            .pop_front()
            .map_or(Ok(()), Err)
    }

    pub(crate) fn router(&self) -> tonic::transport::server::Router {
        Server::builder()
            .add_service(ExecutionServiceServer::new(self.clone()))
            .add_service(WholeRequests(FileServiceServer::new(self.clone())))
    }

    /// Serves one connection in this process.
    pub(crate) async fn embedded(&self) -> (BrigClient, Running) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let running = self.serve(theirs);
        let client = BrigClient::embedded(ours).await.unwrap().with_retry(eager());
        (client, running)
    }

    /// Serves `connection` on the current runtime.
    pub(crate) fn serve(&self, connection: DuplexStream) -> Running {
        let router = self.router();
        let mut running = JoinSet::new();
        running.spawn(async move {
            // The end of the only incoming connection must not end the server before its calls have ended.
            let incoming = stream::once(async { Ok::<_, std::io::Error>(connection) });
            router
                .serve_with_incoming(incoming.chain(stream::pending()))
                .await
                .unwrap();
        });
        running
    }

    fn events(&self) -> BoxStream<'static, Result<pb::JobEvent, Status>> {
        let turn = self.state.lock().unwrap().turns.pop_front();
        let Some(Turn { seqs, end }) = turn else {
            return stream::iter([Err(Status::internal("the script has ended"))]).boxed();
        };
        let job = self.job;
        let events = stream::iter(
            seqs.into_iter()
                .map(move |seq| Ok(pb::JobEvent::from(event(job, seq)))),
        );
        match end {
            End::Silent => events.boxed(),
            End::Status(status) => events.chain(stream::iter([Err(status)])).boxed(),
            End::Hang => events.chain(stream::pending()).boxed(),
        }
    }
}

/// The event of the scripted job with this number.
pub(crate) fn event(job: JobId, seq: u64) -> Event {
    let body = match seq {
        1 => Body::Queued,
        LAST => Body::Ended(Box::new(record(job))),
        _ => Body::Output {
            stream: StreamName::Stdout,
            data: vec![u8::try_from(seq).unwrap()],
        },
    };
    Event {
        job,
        seq,
        attempt: 1,
        time: Timestamp::from_millis(5),
        body,
    }
}

pub(crate) fn record(job: JobId) -> JobRecord {
    let defaults = SpecDefaults {
        limits: LimitsPolicy::default(),
        isolation: IsolationLevel::Strict,
        durability: Durability::Process,
    };
    JobRecord::full(&Job {
        id: job,
        tenant: TenantId::default_tenant(),
        created_by: "uid:1".into(),
        created: Timestamp::from_millis(1),
        spec: draft().validate(&defaults).unwrap(),
        state: JobState::Cancelled,
        attempts: 0,
        started: None,
        ended: Some(Timestamp::from_millis(3)),
        result: Some(JobResult::CancelledInQueue),
        last_seq: LAST,
    })
}

#[tonic::async_trait]
impl ExecutionService for Daemon {
    type ExecuteStream = BoxStream<'static, Result<pb::ExecuteResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn execute(&self, _: Request<pb::ExecuteRequest>) -> Result<Response<Self::ExecuteStream>, Status> {
        self.note(Seen::Execute);
        self.refusal()?;
        let wrap = |event: Result<_, Status>| event.map(|event| pb::ExecuteResponse { event: Some(event) });
        Ok(Response::new(self.events().map(wrap).boxed()))
    }

    async fn submit(&self, _: Request<pb::SubmitRequest>) -> Result<Response<pb::SubmitResponse>, Status> {
        self.note(Seen::Submit);
        self.refusal()?;
        Ok(Response::new(pb::SubmitResponse {
            job_id: self.job.to_string(),
            existing: false,
        }))
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.note(Seen::Watch(request.into_inner().from_seq));
        self.refusal()?;
        let wrap = |event: Result<_, Status>| event.map(|event| pb::WatchResponse { event: Some(event) });
        Ok(Response::new(self.events().map(wrap).boxed()))
    }

    async fn get(&self, _: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        self.refusal()?;
        Ok(Response::new(pb::GetResponse {
            job: Some(pb::Job::from(&record(self.job))),
        }))
    }

    async fn list(
        &self,
        _: Request<pb::ExecutionServiceListRequest>,
    ) -> Result<Response<pb::ExecutionServiceListResponse>, Status> {
        self.refusal()?;
        let jobs = vec![pb::Job::from(&record(self.job))];
        Ok(Response::new(pb::ExecutionServiceListResponse {
            jobs,
            next_page_token: "more".into(),
        }))
    }

    async fn cancel(&self, _: Request<pb::CancelRequest>) -> Result<Response<pb::CancelResponse>, Status> {
        self.refusal()?;
        Ok(Response::new(pb::CancelResponse {
            state: pb::JobState::Cancelling.into(),
        }))
    }
}

fn file(size: usize) -> pb::File {
    pb::File::from(&FileRecord {
        id: FileId::generate(),
        tenant: TenantId::default_tenant(),
        name: "a".into(),
        size: u64::try_from(size).unwrap(),
        sha256: [7; 32],
        created: Timestamp::from_millis(1),
        job: None,
    })
}

#[tonic::async_trait]
impl FileService for Daemon {
    type DownloadStream = BoxStream<'static, Result<pb::DownloadResponse, Status>>;

    async fn upload(
        &self,
        request: Request<Streaming<pb::UploadRequest>>,
    ) -> Result<Response<pb::UploadResponse>, Status> {
        self.refusal()?;
        let mut messages = request.into_inner();
        let mut content = Vec::new();
        loop {
            match messages.message().await {
                Ok(Some(pb::UploadRequest {
                    part: Some(pb::upload_request::Part::Data(data)),
                })) => {
                    content.extend_from_slice(&data);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(broken) => {
                    self.note(Seen::BrokenUpload);
                    return Err(broken);
                }
            }
        }
        let size = content.len();
        self.note(Seen::Upload(content));
        Ok(Response::new(pb::UploadResponse {
            file: Some(file(size)),
        }))
    }

    async fn download(
        &self,
        _: Request<pb::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        self.refusal()?;
        use pb::download_response::Part;
        let parts = self.state.lock().unwrap().download.clone();
        // The announced size is always 10.
        let parts = [Part::File(file(10))]
            .into_iter()
            .chain(parts.into_iter().map(Part::Data));
        let messages = parts.map(|part| Ok(pb::DownloadResponse { part: Some(part) }));
        Ok(Response::new(stream::iter(messages.collect::<Vec<_>>()).boxed()))
    }

    async fn list(
        &self,
        _: Request<pb::FileServiceListRequest>,
    ) -> Result<Response<pb::FileServiceListResponse>, Status> {
        Ok(Response::new(pb::FileServiceListResponse {
            files: vec![file(1)],
        }))
    }

    async fn remove(&self, _: Request<pb::RemoveRequest>) -> Result<Response<pb::RemoveResponse>, Status> {
        self.refusal()?;
        Ok(Response::new(pb::RemoveResponse {}))
    }

    async fn stat(&self, _: Request<pb::StatRequest>) -> Result<Response<pb::StatResponse>, Status> {
        Ok(Response::new(pb::StatResponse { file: Some(file(1)) }))
    }
}
