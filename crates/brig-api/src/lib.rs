//! The wire: generated code, the only conversions, the status mapping and a typed client.
//!
//! ```text
//!   server:  pb request ─▶ convert ─▶ domain ─▶ (engine) ─▶ domain ─▶ convert ─▶ pb answer
//!                                          errors ─▶ status::ServiceError ─▶ tonic::Status
//!   client:  domain ─▶ client::BrigClient ─▶ domain,       tonic::Status ─▶ status::ApiError
//! ```
//!
//! `pb` types stop here: neither the engine nor a command ever sees one.
#![forbid(unsafe_code)]

pub mod client;
pub mod convert;
pub mod pb;
pub mod server;
pub mod status;

pub use client::{BrigClient, EventStream, ExecuteOptions};
pub use convert::InvalidFields;
pub use convert::event::{Body, Event};
pub use convert::file::StoredFile;
pub use convert::info::ServerInfo;
pub use convert::record::{JobRecord, StateKind};
pub use convert::request::DisconnectPolicy;
pub use pb::FILE_DESCRIPTOR_SET;
pub use status::{ApiError, MESSAGE_MAX, ServiceError};
