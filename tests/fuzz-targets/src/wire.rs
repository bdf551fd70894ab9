//! The gRPC contract: bytes of a message, into the domain and back. What a daemon accepts from a caller, and what a
//! client accepts from a daemon.

use brig_api::convert::info::ServerInfo;
use brig_api::convert::request::{
    ExecuteCall, ListFilesCall, ListJobsCall, SubmitCall, UploadStart, WatchCall, file_id, job_id,
};
use brig_api::{Event, JobRecord, StoredFile, pb};
use brig_core::limits::{Limits, LimitsPolicy, LimitsRequest};
use brig_core::outcome::{Failure, Outcome, Verdict};
use brig_core::receipt::Receipt;
use brig_core::spec::{Durability, IsolationLevel, JobDraft, SpecDefaults};
use prost::Message;

/// One small message must not make a list of everything that is wrong with millions of parts.
const FIELDS_MAX: usize = 128;

/// A byte that names the message, then its bytes.
pub fn target(data: &[u8]) {
    let (kind, bytes) = crate::choice(data);
    match kind % 16 {
        0 => {
            if let Some(call) = both_ways(bytes, |call: &ExecuteCall| pb::ExecuteRequest::from(call)) {
                validated(call.draft);
            }
        }
        1 => {
            if let Some(call) = both_ways(bytes, |call: &SubmitCall| pb::SubmitRequest::from(call)) {
                validated(call.draft);
            }
        }
        2 => is_same(bytes, |call: &WatchCall| pb::WatchRequest::from(call)),
        3 => is_same(bytes, |call: &ListJobsCall| {
            pb::ExecutionServiceListRequest::from(call)
        }),
        4 => is_same(bytes, |call: &ListFilesCall| {
            pb::FileServiceListRequest::from(call)
        }),
        5 => is_same(bytes, |start: &UploadStart| pb::UploadMetadata::from(start)),
        6 => is_same(bytes, |event: &Event| pb::JobEvent::from(event.clone())),
        7 => is_same(bytes, |job: &JobRecord| pb::Job::from(job)),
        8 => is_same(bytes, |outcome: &Outcome| pb::Outcome::from(outcome)),
        9 => is_same(bytes, |verdict: &Verdict| pb::Verdict::from(verdict)),
        10 => is_same(bytes, |failure: &Failure| pb::Failure::from(failure)),
        11 => is_same(bytes, |receipt: &Receipt| pb::Receipt::from(receipt)),
        12 => is_same(bytes, |limits: &Limits| pb::Limits::from(limits)),
        13 => is_same(bytes, |info: &ServerInfo| pb::GetInfoResponse::from(info)),
        14 => is_same(bytes, |file: &StoredFile| pb::File::from(file)),
        _ => {
            is_same(bytes, |limits: &LimitsRequest| pb::Limits::from(limits));
            ids(bytes);
        }
    }
}

fn is_same<P, D>(bytes: &[u8], to_wire: impl Fn(&D) -> P)
where
    P: Message + Default,
    D: TryFrom<P, Error = brig_api::InvalidFields> + PartialEq + std::fmt::Debug,
{
    both_ways(bytes, to_wire);
}

/// What is accepted is the same after one more way there and back; what is refused is refused with a reason.
fn both_ways<P, D>(bytes: &[u8], to_wire: impl Fn(&D) -> P) -> Option<D>
where
    P: Message + Default,
    D: TryFrom<P, Error = brig_api::InvalidFields> + PartialEq + std::fmt::Debug,
{
    let wire = P::decode(bytes).ok()?;
    match D::try_from(wire) {
        Ok(accepted) => {
            let sent = to_wire(&accepted).encode_to_vec();
            let again = P::decode(sent.as_slice()).expect("what we encode can be decoded");
            let again = D::try_from(again).expect("what we say is understood");
            assert_eq!(again, accepted, "on its way it became another");
            assert_eq!(to_wire(&again).encode_to_vec(), sent, "it has two encodings");
            Some(accepted)
        }
        Err(brig_api::InvalidFields(fields)) => {
            assert!(!fields.is_empty(), "refused without a field");
            assert!(
                fields.len() <= FIELDS_MAX,
                "{} fields for one request",
                fields.len()
            );
            None
        }
    }
}

/// What passes the checks keeps every promise that the engine relies on.
fn validated(draft: JobDraft) {
    let limits = LimitsPolicy::default();
    let defaults = SpecDefaults {
        limits,
        isolation: IsolationLevel::Strict,
        durability: Durability::Process,
    };
    match draft.validate(&defaults) {
        Ok(spec) => {
            for input in &spec.inputs {
                let path = input.path.as_str();
                let safe = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
                assert!(safe && !path.contains('\0'), "{path:?} leaves the workspace");
            }
            let (given, most) = (&spec.limits, &limits.ceiling);
            assert!(
                given.wall <= most.wall && given.cpu_time <= most.cpu_time,
                "{given:?}"
            );
            assert!(
                given.memory <= most.memory && given.processes <= most.processes,
                "{given:?}"
            );
            assert!(
                given.output_kept <= most.output_kept && given.open_files <= most.open_files,
                "{given:?}"
            );
            assert!(!given.wall.is_zero() && given.processes > 0, "{given:?}");
        }
        Err(fields) => {
            assert!(!fields.is_empty(), "refused without a field");
            assert!(
                fields.len() <= FIELDS_MAX,
                "{} fields for one request",
                fields.len()
            );
        }
    }
}

/// An id has one spelling.
fn ids(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(id) = job_id(text) {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(id) = file_id(text) {
        assert_eq!(id.to_string(), text);
    }
}
