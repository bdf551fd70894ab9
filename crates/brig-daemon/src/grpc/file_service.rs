//! `FileService`.

use super::refusal::{invalid, refused};
use super::{Answers, caller};
use crate::engine::{Engine, EngineError};
use brig_api::InvalidFields;
use brig_api::convert::request::{ListFilesCall, UploadStart, file_id};
use brig_api::pb;
use brig_api::pb::download_response::Part as DownloadPart;
use brig_api::pb::file_service_server::FileService;
use brig_api::pb::upload_request::Part as UploadPart;
use brig_core::spec::Durability;
use futures_util::stream::{self, StreamExt};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of one message of a download.
const CHUNK: usize = 256 * 1024;

/// Keeps files for callers.
pub(crate) struct Files {
    engine: Arc<Engine>,
}

impl Files {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

fn wrong(field: &str, description: &str) -> Status {
    invalid(InvalidFields::one(field, description))
}

#[tonic::async_trait]
impl FileService for Files {
    type DownloadStream = Answers<pb::DownloadResponse>;

    async fn upload(
        &self,
        request: Request<Streaming<pb::UploadRequest>>,
    ) -> Result<Response<pb::UploadResponse>, Status> {
        let caller = caller(&request);
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|message| message.part);
        let Some(UploadPart::Metadata(metadata)) = first else {
            return Err(wrong("metadata", "must be the first message"));
        };
        let start = UploadStart::try_from(metadata).map_err(invalid)?;
        let fault = |error| refused(EngineError::File(error));
        let depot = &self.engine.files;
        let mut growing = depot.begin(&caller.tenant, &start.name).await.map_err(fault)?;
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(UploadPart::Data(bytes)) => growing.write(&bytes).await.map_err(fault)?,
                Some(UploadPart::Metadata(_)) => return Err(wrong("metadata", "must come only once")),
                None => return Err(wrong("part", "is required")),
            }
        }
        if let Some(announced) = &start.sha256 {
            growing.check(announced).map_err(fault)?;
        }
        let durability = start.durability.unwrap_or(Durability::Process);
        let record = depot.complete(growing, durability).await.map_err(fault)?;
        let file = Some(pb::File::from(&record));
        Ok(Response::new(pb::UploadResponse { file }))
    }

    async fn download(
        &self,
        request: Request<pb::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let caller = caller(&request);
        let id = file_id(&request.into_inner().file_id).map_err(invalid)?;
        let opened = self.engine.files.open(&caller.tenant, id).await;
        let (record, file) = opened.map_err(|error| refused(EngineError::File(error)))?;
        let first = pb::DownloadResponse {
            part: Some(DownloadPart::File(pb::File::from(&record))),
        };
        let first = stream::iter([Ok(first)]);
        Ok(Response::new(
            first.chain(contents(tokio::fs::File::from_std(file))).boxed(),
        ))
    }

    async fn list(
        &self,
        request: Request<pb::FileServiceListRequest>,
    ) -> Result<Response<pb::FileServiceListResponse>, Status> {
        let caller = caller(&request);
        let call = ListFilesCall::try_from(request.into_inner()).map_err(invalid)?;
        let files = self
            .engine
            .store
            .list_files(&caller.tenant, call.job, call.page_size);
        let files = files
            .await
            .map_err(|error| refused(EngineError::File(error.into())))?;
        Ok(Response::new(pb::FileServiceListResponse {
            files: files.iter().map(pb::File::from).collect(),
        }))
    }

    async fn remove(
        &self,
        request: Request<pb::RemoveRequest>,
    ) -> Result<Response<pb::RemoveResponse>, Status> {
        let caller = caller(&request);
        let id = file_id(&request.into_inner().file_id).map_err(invalid)?;
        let removed = self.engine.files.remove(&caller.tenant, id).await;
        removed.map_err(|error| refused(EngineError::File(error)))?;
        Ok(Response::new(pb::RemoveResponse {}))
    }

    async fn stat(&self, request: Request<pb::StatRequest>) -> Result<Response<pb::StatResponse>, Status> {
        let caller = caller(&request);
        let id = file_id(&request.into_inner().file_id).map_err(invalid)?;
        let record = self.engine.store.get_file(&caller.tenant, id).await;
        let record = record.map_err(|error| refused(EngineError::File(error.into())))?;
        let file = Some(pb::File::from(&record));
        Ok(Response::new(pb::StatResponse { file }))
    }
}

/// The bytes of a file, piece by piece as the client takes them.
fn contents(file: tokio::fs::File) -> Answers<pb::DownloadResponse> {
    let next = |file: Option<tokio::fs::File>| async move {
        let mut file = file?;
        let mut data = Vec::with_capacity(CHUNK);
        match (&mut file).take(CHUNK as u64).read_to_end(&mut data).await {
            Ok(0) => None,
            Ok(_) => {
                let part = Some(DownloadPart::Data(data));
                Some((Ok(pb::DownloadResponse { part }), Some(file)))
            }
            Err(source) => {
                let error = crate::engine::files::FileError::Io {
                    act: "read a file",
                    source,
                };
                Some((Err(refused(EngineError::File(error))), None))
            }
        }
    };
    stream::unfold(Some(file), next).boxed()
}
