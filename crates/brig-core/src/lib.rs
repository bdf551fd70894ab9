//! The language of Brig: ids, specs, limits, outcomes, verdicts, the job state machine, and the ports.
//!
//! This crate does no I/O and knows no kernel, database or network, so that the words everything else must
//! agree on can be read and tested alone.
//!
//! ```text
//!  caller ─▶ JobSpec ─▶ store (ports in `store`) ─▶ engine ─▶ Backend (port in `backend`) ─▶ ExitFacts
//!                                                                │
//!                          Outcome ◀── judge(facts, limits) ◀────┘     JobState::next decides every change
//! ```
#![forbid(unsafe_code)]

pub mod backend;
pub mod event;
pub mod exit;
pub mod fault;
pub mod id;
pub mod job;
pub mod limits;
pub mod outcome;
pub mod receipt;
pub mod spec;
pub mod store;
pub mod time;
pub mod verdict;

pub use backend::{Backend, BackendError, Environment};
pub use event::{EventBody, JobEventRecord, StreamName};
pub use exit::{ExitFacts, KillCause, MainExit, RefusedCall};
pub use fault::Fault;
pub use id::{FileId, JobId, TenantId, WorkerId};
pub use job::{JobEvent, JobState, Lease, Refused};
pub use limits::{Bytes, Limits, LimitsRequest};
pub use outcome::{Failure, Outcome, Usage, Verdict};
pub use receipt::Receipt;
pub use spec::JobSpec;
pub use time::Timestamp;
pub use verdict::{Judgement, judge};
