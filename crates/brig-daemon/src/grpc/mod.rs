//! The wire's side: decode, call the engine, encode. No decisions.

mod admission;
pub(crate) mod connection;
pub(crate) mod execution_service;
pub(crate) mod file_service;
pub(crate) mod info_service;
mod refusal;

use crate::engine::{Caller, Engine};
use brig_api::MESSAGE_MAX;
use brig_api::pb::execution_service_server::ExecutionServiceServer;
use brig_api::pb::file_service_server::FileServiceServer;
use brig_api::pb::info_service_server::InfoServiceServer;
use brig_api::server::{NamedRefusals, RequestBudget, WholeRequests};
use brig_core::TenantId;
use brig_core::backend::Condition;
use brig_core::spec::BackendName;
use connection::{Connection, Peer};
use futures_util::Stream;
use futures_util::stream::BoxStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Streams of answers.
pub(crate) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Largest HTTP/2 window of one stream: an upload's pieces arrive without waiting for each other.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Calls at once on one connection.
const CALLS_MAX: u32 = 1024;
/// Bytes of requests that are being received or looked at: what 32 of the largest have.
const REQUESTS_MAX: u64 = 128 * 1024 * 1024;
/// How long a client may leave a request unfinished without sending anything.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);
/// A client that is silently gone is noticed within twice this time.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Names under which health is asked; the empty one stands for the whole daemon.
const HEALTH_NAMES: [&str; 4] = [
    "",
    "brig.v1.ExecutionService",
    "brig.v1.FileService",
    "brig.v1.InfoService",
];

/// Tells the health service.
#[derive(Clone)]
pub(crate) struct Health(HealthReporter);

impl Health {
    pub(crate) async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    pub(crate) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// `brig.NAME` is whether a backend can give cells, `brig.NAME.warm` whether it gives them as it is configured to.
    pub(crate) async fn backend(&self, name: &BackendName, condition: Condition) {
        let status = |serves: bool| {
            if serves {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            }
        };
        let cells = status(condition != Condition::Unavailable);
        let warm = status(condition == Condition::Serving);
        self.0.set_service_status(format!("brig.{name}"), cells).await;
        self.0.set_service_status(format!("brig.{name}.warm"), warm).await;
    }

    async fn set(&self, status: ServingStatus) {
        for name in HEALTH_NAMES {
            self.0.set_service_status(name, status).await;
        }
    }
}

/// Every service, ready to be served.
pub(crate) struct Services {
    router: tonic::transport::server::Router,
    pub(crate) health: Health,
}

impl Services {
    /// # Errors
    /// When the descriptors cannot be read, which a test rules out.
    pub(crate) fn new(engine: &Arc<Engine>) -> Result<Self, tonic_reflection::server::Error> {
        let (reporter, health) = tonic_health::server::health_reporter();
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(brig_api::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let execution = execution_service::Execution::new(Arc::clone(engine));
        let files = file_service::Files::new(Arc::clone(engine));
        let info = info_service::Info::new(Arc::clone(engine));
        let budget = RequestBudget::new(REQUESTS_MAX, REQUEST_PATIENCE);
        let router = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(4 * STREAM_WINDOW)
            .max_concurrent_streams(CALLS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(budget.around(health))
            .add_service(budget.around(reflection().build_v1()?))
            // Clients older than 2024 ask for this one.
            .add_service(budget.around(reflection().build_v1alpha()?))
            .add_service(
                budget.around(NamedRefusals(
                    ExecutionServiceServer::new(execution)
                        .max_decoding_message_size(MESSAGE_MAX)
                        .max_encoding_message_size(MESSAGE_MAX),
                )),
            )
            .add_service(
                budget.around(NamedRefusals(WholeRequests(
                    FileServiceServer::new(files)
                        .max_decoding_message_size(MESSAGE_MAX)
                        .max_encoding_message_size(MESSAGE_MAX),
                ))),
            )
            .add_service(budget.around(NamedRefusals(
                InfoServiceServer::new(info).max_decoding_message_size(MESSAGE_MAX),
            )));
        Ok(Self {
            router,
            health: Health(reporter),
        })
    }

    /// Serves until `end`; may then hang for ever on a silent connection, so the caller bounds it.
    pub(crate) async fn serve(
        self,
        incoming: BoxStream<'static, std::io::Result<Connection>>,
        end: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        self.router
            .serve_with_incoming_shutdown(admission::admit(incoming), end.cancelled_owned())
            .await
    }
}

/// Who calls. Without keys there is one tenant, and the connection says who it is.
fn caller<T>(request: &Request<T>) -> Caller {
    let name = request
        .extensions()
        .get::<Peer>()
        .map_or_else(|| "unknown".to_owned(), |peer| peer.name.to_string());
    Caller {
        tenant: TenantId::default_tenant(),
        name,
    }
}
