//! `ExecutionService`.

use super::refusal::{invalid, refused};
use super::{Answers, caller};
use crate::engine::execute::{Attachment, Following};
use crate::engine::submit::{Method, Submission};
use crate::engine::watch::Seen;
use crate::engine::{Caller, Engine};
use brig_api::DisconnectPolicy;
use brig_api::convert::event::{Encoding, encode};
use brig_api::convert::record::{JobRecord, StateKind};
use brig_api::convert::request::{ExecuteCall, ListJobsCall, SubmitCall, WatchCall, job_id};
use brig_api::pb;
use brig_api::pb::execution_service_server::ExecutionService;
use brig_core::JobId;
use brig_core::spec::JobDraft;
use brig_core::store::{JobPage, Submitted};
use futures_util::stream::{self, StreamExt};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Runs jobs for callers.
pub(crate) struct Execution {
    engine: Arc<Engine>,
}

impl Execution {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

fn submission(caller: Caller, method: Method, draft: JobDraft, key: Option<String>) -> Submission {
    Submission {
        caller,
        method,
        id: JobId::generate(),
        draft,
        idempotency_key: key,
    }
}

/// The events of `following` as they come, until the last one or an error.
fn events<T: Send + 'static>(following: Following, wrap: fn(pb::JobEvent) -> T) -> Answers<T> {
    let next = move |following: Option<Following>| async move {
        let mut following = following?;
        match following.next().await {
            Ok(Some(seen)) => match encode_event(seen) {
                Ok(event) => Some((Ok(wrap(event)), Some(following))),
                Err(status) => Some((Err(status), None)),
            },
            Ok(None) => None,
            Err(error) => Some((Err(refused(error)), None)),
        }
    };
    stream::unfold(Some(following), next).boxed()
}

fn encode_event(seen: Seen) -> Result<pb::JobEvent, Status> {
    let record = Arc::unwrap_or_clone(seen.record);
    match (encode(record), seen.ended) {
        (Encoding::Complete(event), _) => Ok(event),
        (Encoding::NeedsJob(end), Some(job)) => Ok(end.with(&job)),
        (Encoding::NeedsJob(_), None) => Err(Status::internal("the last event has no record")),
    }
}

#[tonic::async_trait]
impl ExecutionService for Execution {
    type ExecuteStream = Answers<pb::ExecuteResponse>;
    type WatchStream = Answers<pb::WatchResponse>;

    async fn execute(
        &self,
        request: Request<pb::ExecuteRequest>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let caller = caller(&request);
        let call = ExecuteCall::try_from(request.into_inner()).map_err(invalid)?;
        let attachment = match call.on_disconnect {
            DisconnectPolicy::Cancel => Attachment::Attached,
            DisconnectPolicy::Detach => Attachment::Detached,
        };
        let submission = submission(caller, Method::Execute, call.draft, call.idempotency_key);
        let following = self
            .engine
            .execute(submission, attachment)
            .await
            .map_err(refused)?;
        let wrap = |event| pb::ExecuteResponse { event: Some(event) };
        Ok(Response::new(events(following, wrap)))
    }

    async fn submit(
        &self,
        request: Request<pb::SubmitRequest>,
    ) -> Result<Response<pb::SubmitResponse>, Status> {
        let caller = caller(&request);
        let call = SubmitCall::try_from(request.into_inner()).map_err(invalid)?;
        let submission = submission(caller, Method::Submit, call.draft, call.idempotency_key);
        let (job, existing) = match self.engine.submit(submission).await.map_err(refused)? {
            Submitted::New(job) => (job, false),
            Submitted::Existing(job) => (job, true),
        };
        Ok(Response::new(pb::SubmitResponse {
            job_id: job.to_string(),
            existing,
        }))
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = caller(&request);
        let call = WatchCall::try_from(request.into_inner()).map_err(invalid)?;
        let following = self.engine.follow(caller.tenant, call.job, call.from_seq).await;
        let wrap = |event| pb::WatchResponse { event: Some(event) };
        Ok(Response::new(events(following.map_err(refused)?, wrap)))
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Result<Response<pb::GetResponse>, Status> {
        let caller = caller(&request);
        let id = job_id(&request.into_inner().job_id).map_err(invalid)?;
        let job = self.engine.get(&caller.tenant, id).await.map_err(refused)?;
        let job = Some(pb::Job::from(&job));
        Ok(Response::new(pb::GetResponse { job }))
    }

    async fn list(
        &self,
        request: Request<pb::ExecutionServiceListRequest>,
    ) -> Result<Response<pb::ExecutionServiceListResponse>, Status> {
        let caller = caller(&request);
        let call = ListJobsCall::try_from(request.into_inner()).map_err(invalid)?;
        let page = self
            .engine
            .list(
                &caller.tenant,
                &call.filter,
                call.page_size,
                call.page_token.as_deref(),
            )
            .await;
        let JobPage { jobs, next } = page.map_err(refused)?;
        Ok(Response::new(pb::ExecutionServiceListResponse {
            jobs: jobs
                .iter()
                .map(|job| pb::Job::from(&JobRecord::brief(job)))
                .collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn cancel(
        &self,
        request: Request<pb::CancelRequest>,
    ) -> Result<Response<pb::CancelResponse>, Status> {
        let caller = caller(&request);
        let id = job_id(&request.into_inner().job_id).map_err(invalid)?;
        let state = self.engine.cancel(&caller.tenant, id).await.map_err(refused)?;
        Ok(Response::new(pb::CancelResponse {
            state: pb::JobState::from(StateKind::from(&state)).into(),
        }))
    }
}
