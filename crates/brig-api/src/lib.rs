//! The wire: generated code, the only conversions, the status mapping and a typed client.
#![forbid(unsafe_code)]

pub mod pb;

pub use pb::FILE_DESCRIPTOR_SET;
