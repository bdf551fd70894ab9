//! `InfoService`.

use crate::engine::Engine;
use brig_api::ServerInfo;
use brig_api::pb;
use brig_api::pb::info_service_server::InfoService;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use tracing::warn;

/// Tells what this daemon is.
pub(crate) struct Info {
    engine: Arc<Engine>,
}

impl Info {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl InfoService for Info {
    async fn get_info(
        &self,
        _request: Request<pb::GetInfoRequest>,
    ) -> Result<Response<pb::GetInfoResponse>, Status> {
        let host = match self.engine.host().await {
            Ok(host) => Some(host.clone()),
            Err(error) => {
                warn!(%error, "the host's layers cannot be tried");
                None
            }
        };
        let settings = &self.engine.settings;
        let info = ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backends: self.engine.backend.offers(),
            default_isolation: settings.isolation,
            limits: settings.limits,
            features: Vec::new(),
            max_concurrent_jobs: u32::try_from(settings.max_concurrent).unwrap_or(u32::MAX),
            max_queued_jobs: settings.queue_limit,
            host,
        };
        Ok(Response::new(pb::GetInfoResponse::from(&info)))
    }
}
