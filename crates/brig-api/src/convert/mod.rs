//! The only conversions between the wire and the domain, one file per concept.
//!
//! Requests become domain types at the edge and are trusted from then on; answers become domain types in the
//! client. Every conversion takes its source apart field by field without `..`, so that a field which is added on
//! one side cannot be forgotten on the other. What cannot be converted is an [`InvalidFields`] that names each
//! field by its path on the wire.
//!
//! ```text
//!   request:  pb::ExecuteRequest ─▶ ExecuteCall { JobDraft, … }      (paths begin with `spec.`)
//!   event:    JobEventRecord ─▶ Encoding ─▶ pb::JobEvent ─▶ Event
//!   record:   Job ─▶ JobRecord (bounded) ─▶ pb::Job ─▶ JobRecord
//! ```

mod field;
mod time;

pub mod event;
pub mod file;
pub mod info;
pub mod job;
pub mod limits;
pub mod outcome;
pub mod receipt;
pub mod record;
pub mod request;
pub mod spec;
pub mod verdict;

#[cfg(test)]
mod samples;

pub use field::InvalidFields;
pub(crate) use field::{At, each, required};
pub(crate) use request::job_id;
