//! The typed client: domain types in and out.
//!
//! Calls that change nothing, or that carry an idempotency key, are tried again while the daemon is busy or away;
//! a stream of events goes on where it broke, without loss and without duplicates. Everything else is told at once.

mod connect;
mod retry;
mod transfer;
mod watch;

pub use connect::Address;
pub use retry::RetryPolicy;
pub use watch::EventStream;

use crate::convert::file::StoredFile;
use crate::convert::info::ServerInfo;
use crate::convert::job::state_kind;
use crate::convert::record::{JobRecord, StateKind};
use crate::convert::request::{
    DisconnectPolicy, ExecuteCall, ListFilesCall, ListJobsCall, SubmitCall, WatchCall,
};
use crate::convert::{At, each, job_id, required};
use crate::pb;
use crate::pb::execution_service_client::ExecutionServiceClient;
use crate::pb::file_service_client::FileServiceClient;
use crate::pb::info_service_client::InfoServiceClient;
use crate::status::{ApiError, MESSAGE_MAX};
use brig_core::id::{FileId, JobId};
use brig_core::spec::JobDraft;
use brig_core::store::JobFilter;
use retry::{Backoff, Repeat};
use std::future::Future;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// How long one call with one answer may take.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// A connection to a daemon. Clones share it.
#[derive(Debug, Clone)]
pub struct BrigClient {
    channel: Channel,
    retry: RetryPolicy,
    deadline: Duration,
}

/// How to execute a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecuteOptions {
    /// Under which key it is carried out once; with one, a request whose answer was lost is sent again. Unless the
    /// job is detached, the daemon may have cancelled it in between.
    pub idempotency_key: Option<String>,
    /// What happens to the job when this stream is dropped.
    pub on_disconnect: DisconnectPolicy,
    /// How long to follow it at most; then the stream ends with [`ApiError::Deadline`].
    pub deadline: Option<Duration>,
}

/// A submitted job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub job: JobId,
    /// Whether it is new.
    pub origin: Origin,
}

/// Where a submitted job came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This request.
    New,
    /// An earlier request with the same idempotency key.
    Existing,
}

/// A page of jobs, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPage {
    /// The jobs, in brief.
    pub jobs: Vec<JobRecord>,
    /// Token of the next page; `None` at the end.
    pub next: Option<String>,
}

impl BrigClient {
    /// Another policy for trying again.
    #[must_use]
    pub fn with_retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// Another deadline for calls with one answer.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Submits a job and gives the stream of its events, up to its whole record.
    ///
    /// # Errors
    /// [`ApiError`], when it was not accepted.
    pub async fn execute(&self, draft: JobDraft, options: ExecuteOptions) -> Result<EventStream, ApiError> {
        let ExecuteOptions {
            idempotency_key,
            on_disconnect,
            deadline,
        } = options;
        let call = ExecuteCall {
            draft,
            idempotency_key,
            on_disconnect,
        };
        EventStream::execute(self.clone(), &call, deadline).await
    }

    /// Submits a job.
    ///
    /// # Errors
    /// [`ApiError`], when it was not accepted, or when that is not known.
    pub async fn submit(
        &self,
        draft: JobDraft,
        idempotency_key: Option<String>,
    ) -> Result<Accepted, ApiError> {
        let repeat = if idempotency_key.is_some() {
            Repeat::Safe
        } else {
            Repeat::Unsafe
        };
        let request = pb::SubmitRequest::from(&SubmitCall {
            draft,
            idempotency_key,
        });
        let answer = self.call(repeat, || {
            let (mut client, request) = (self.executions(), request.clone());
            async move { client.submit(request).await }
        });
        let pb::SubmitResponse { job_id, existing } = answer.await?;
        let origin = if existing { Origin::Existing } else { Origin::New };
        Ok(Accepted {
            job: self::job_id(&job_id)?,
            origin,
        })
    }

    /// The events of a job from number `from_seq` on, up to its whole record. 1 is the first.
    ///
    /// # Errors
    /// [`ApiError`], when there is no such job or the daemon cannot be reached.
    pub async fn watch(&self, job: JobId, from_seq: u64) -> Result<EventStream, ApiError> {
        EventStream::watch(
            self.clone(),
            WatchCall {
                job,
                from_seq: from_seq.max(1),
            },
        )
        .await
    }

    /// The whole record of a job.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn get(&self, job: JobId) -> Result<JobRecord, ApiError> {
        let request = pb::GetRequest {
            job_id: job.to_string(),
        };
        let answer = self.call(Repeat::Safe, || {
            let (mut client, request) = (self.executions(), request.clone());
            async move { client.get(request).await }
        });
        let pb::GetResponse { job } = answer.await?;
        Ok(required(job).and_then(JobRecord::try_from).at("job")?)
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn list(
        &self,
        filter: JobFilter,
        page_size: u32,
        page_token: Option<String>,
    ) -> Result<RecordPage, ApiError> {
        let request = pb::ExecutionServiceListRequest::from(&ListJobsCall {
            filter,
            page_size,
            page_token,
        });
        let answer = self.call(Repeat::Safe, || {
            let (mut client, request) = (self.executions(), request.clone());
            async move { client.list(request).await }
        });
        let pb::ExecutionServiceListResponse {
            jobs,
            next_page_token,
        } = answer.await?;
        let next = Some(next_page_token).filter(|token| !token.is_empty());
        Ok(RecordPage {
            jobs: each(jobs).at("jobs")?,
            next,
        })
    }

    /// Asks for a job to be stopped; gives where it stands now.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn cancel(&self, job: JobId) -> Result<StateKind, ApiError> {
        let request = pb::CancelRequest {
            job_id: job.to_string(),
        };
        let answer = self.call(Repeat::Safe, || {
            let (mut client, request) = (self.executions(), request.clone());
            async move { client.cancel(request).await }
        });
        let pb::CancelResponse { state } = answer.await?;
        Ok(state_kind(state).at("state")?)
    }

    /// What the daemon is and can.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn info(&self) -> Result<ServerInfo, ApiError> {
        let answer = self.call(Repeat::Safe, || {
            let mut client = self.infos();
            async move { client.get_info(pb::GetInfoRequest {}).await }
        });
        Ok(ServerInfo::try_from(answer.await?)?)
    }

    /// Stored files, newest first; of one job where given.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn list_files(&self, job: Option<JobId>, most: u32) -> Result<Vec<StoredFile>, ApiError> {
        let request = pb::FileServiceListRequest::from(&ListFilesCall { job, page_size: most });
        let answer = self.call(Repeat::Safe, || {
            let (mut client, request) = (self.files(), request.clone());
            async move { client.list(request).await }
        });
        let pb::FileServiceListResponse { files } = answer.await?;
        Ok(each(files).at("files")?)
    }

    /// The record of a stored file.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn stat_file(&self, file: FileId) -> Result<StoredFile, ApiError> {
        let request = pb::StatRequest {
            file_id: file.to_string(),
        };
        let answer = self.call(Repeat::Safe, || {
            let (mut client, request) = (self.files(), request.clone());
            async move { client.stat(request).await }
        });
        let pb::StatResponse { file } = answer.await?;
        Ok(required(file).and_then(StoredFile::try_from).at("file")?)
    }

    /// Removes a stored file.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn remove_file(&self, file: FileId) -> Result<(), ApiError> {
        let request = pb::RemoveRequest {
            file_id: file.to_string(),
        };
        // Sent twice, the second would say that there is no such file.
        let answer = self.call(Repeat::Unsafe, || {
            let (mut client, request) = (self.files(), request.clone());
            async move { client.remove(request).await }
        });
        let pb::RemoveResponse {} = answer.await?;
        Ok(())
    }

    fn executions(&self) -> ExecutionServiceClient<Channel> {
        ExecutionServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    fn files(&self) -> FileServiceClient<Channel> {
        FileServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    fn infos(&self) -> InfoServiceClient<Channel> {
        InfoServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_MAX)
    }

    /// Makes a call with one answer, again where that is safe and may help.
    async fn call<T, F, A>(&self, repeat: Repeat, make: F) -> Result<T, ApiError>
    where
        F: Fn() -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let mut backoff = Backoff::new(self.retry, repeat);
        loop {
            match tokio::time::timeout(self.deadline, make()).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => backoff.pause(ApiError::from(status)).await?,
                Err(_elapsed) => return Err(ApiError::Deadline),
            }
        }
    }
}
