//! Requests of the services, decoded whole: what is wrong is named by its path in the request.

use super::field::{At, Checker, InvalidFields, id, known, required};
use super::file::{digest, optional_job};
use super::job::state_kind;
use super::record::StateKind;
use super::spec::{durability_of, durability_to_wire};
use crate::pb;
use brig_core::id::{FileId, JobId};
use brig_core::spec::{Durability, JobDraft, Program};
use brig_core::store::JobFilter;

/// Longest idempotency key, bytes.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;
/// Longest name of an uploaded file, bytes.
pub const FILE_NAME_MAX: usize = 1_024;
/// Jobs on a page where the caller names no number, and the most.
pub const JOB_PAGE: (u32, u32) = (50, 100);
/// Files in a list where the caller names no number, and the most.
pub const FILE_PAGE: (u32, u32) = (100, 1_000);

/// What happens to an executed job when its caller goes away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum DisconnectPolicy {
    /// It is cancelled.
    #[default]
    Cancel,
    /// It goes on.
    Detach,
}

/// A request of `Execute`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecuteCall {
    /// What to run.
    pub draft: JobDraft,
    /// Under which key it is carried out once.
    pub idempotency_key: Option<String>,
    /// What happens when the caller goes away.
    pub on_disconnect: DisconnectPolicy,
}

impl TryFrom<pb::ExecuteRequest> for ExecuteCall {
    type Error = InvalidFields;

    fn try_from(wire: pb::ExecuteRequest) -> Result<Self, InvalidFields> {
        let pb::ExecuteRequest {
            spec,
            idempotency_key,
            on_disconnect,
        } = wire;
        let mut check = Checker::default();
        let draft = check.take("spec", required(spec).and_then(JobDraft::try_from));
        let key = check.take("idempotency_key", key(idempotency_key));
        let policy = check.take("on_disconnect", disconnect_policy(on_disconnect));
        check.finish(Self {
            draft: draft.unwrap_or_else(stand_in),
            idempotency_key: key.flatten(),
            on_disconnect: policy.unwrap_or_default(),
        })
    }
}

impl From<&ExecuteCall> for pb::ExecuteRequest {
    fn from(call: &ExecuteCall) -> Self {
        let ExecuteCall {
            draft,
            idempotency_key,
            on_disconnect,
        } = call;
        let on_disconnect = match on_disconnect {
            DisconnectPolicy::Cancel => pb::DisconnectPolicy::Cancel,
            DisconnectPolicy::Detach => pb::DisconnectPolicy::Detach,
        };
        Self {
            spec: Some(pb::JobSpec::from(draft)),
            idempotency_key: idempotency_key.clone().unwrap_or_default(),
            on_disconnect: on_disconnect.into(),
        }
    }
}

/// A request of `Submit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitCall {
    /// What to run.
    pub draft: JobDraft,
    /// Under which key it is carried out once.
    pub idempotency_key: Option<String>,
}

impl TryFrom<pb::SubmitRequest> for SubmitCall {
    type Error = InvalidFields;

    fn try_from(wire: pb::SubmitRequest) -> Result<Self, InvalidFields> {
        let pb::SubmitRequest {
            spec,
            idempotency_key,
        } = wire;
        let mut check = Checker::default();
        let draft = check.take("spec", required(spec).and_then(JobDraft::try_from));
        let key = check.take("idempotency_key", key(idempotency_key));
        check.finish(Self {
            draft: draft.unwrap_or_else(stand_in),
            idempotency_key: key.flatten(),
        })
    }
}

impl From<&SubmitCall> for pb::SubmitRequest {
    fn from(call: &SubmitCall) -> Self {
        let SubmitCall {
            draft,
            idempotency_key,
        } = call;
        Self {
            spec: Some(pb::JobSpec::from(draft)),
            idempotency_key: idempotency_key.clone().unwrap_or_default(),
        }
    }
}

/// A request of `Watch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchCall {
    /// Which job.
    pub job: JobId,
    /// Number of the first event wanted, at least 1.
    pub from_seq: u64,
}

impl TryFrom<pb::WatchRequest> for WatchCall {
    type Error = InvalidFields;

    fn try_from(wire: pb::WatchRequest) -> Result<Self, InvalidFields> {
        let pb::WatchRequest { job_id, from_seq } = wire;
        Ok(Self {
            job: self::job_id(&job_id)?,
            from_seq: from_seq.max(1),
        })
    }
}

impl From<&WatchCall> for pb::WatchRequest {
    fn from(call: &WatchCall) -> Self {
        let WatchCall { job, from_seq } = call;
        Self {
            job_id: job.to_string(),
            from_seq: *from_seq,
        }
    }
}

/// A request of `List` of the execution service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListJobsCall {
    /// Which jobs.
    pub filter: JobFilter,
    /// Most jobs on the page: within [`JOB_PAGE`].
    pub page_size: u32,
    /// Where the page begins.
    pub page_token: Option<String>,
}

impl TryFrom<pb::ExecutionServiceListRequest> for ListJobsCall {
    type Error = InvalidFields;

    fn try_from(wire: pb::ExecutionServiceListRequest) -> Result<Self, InvalidFields> {
        let pb::ExecutionServiceListRequest {
            filter,
            page_size,
            page_token,
        } = wire;
        let filter = filter.map(job_filter).transpose().at("filter")?;
        Ok(Self {
            filter: filter.unwrap_or_default(),
            page_size: page(page_size, JOB_PAGE),
            page_token: Some(page_token).filter(|token| !token.is_empty()),
        })
    }
}

impl From<&ListJobsCall> for pb::ExecutionServiceListRequest {
    fn from(call: &ListJobsCall) -> Self {
        let ListJobsCall {
            filter,
            page_size,
            page_token,
        } = call;
        let JobFilter {
            states,
            labels,
            created_by,
        } = filter;
        // A word that is no state matches no job; the wire's zero value makes the daemon say so.
        let number = |word: &String| {
            StateKind::from_word(word)
                .map_or(pb::JobState::Unspecified, pb::JobState::from)
                .into()
        };
        Self {
            filter: Some(pb::JobFilter {
                states: states.iter().map(number).collect(),
                labels: labels.clone(),
                created_by: created_by.clone().unwrap_or_default(),
            }),
            page_size: *page_size,
            page_token: page_token.clone().unwrap_or_default(),
        }
    }
}

fn job_filter(wire: pb::JobFilter) -> Result<JobFilter, InvalidFields> {
    let pb::JobFilter {
        states,
        labels,
        created_by,
    } = wire;
    let mut check = Checker::default();
    let words = states.into_iter().enumerate().filter_map(|(index, number)| {
        let state = check.take(&format!("states[{index}]"), state_kind(number));
        state.map(|state| state.word().to_owned())
    });
    let states = words.collect();
    let created_by = Some(created_by).filter(|name| !name.is_empty());
    check.finish(JobFilter {
        states,
        labels,
        created_by,
    })
}

/// A request of `List` of the file service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListFilesCall {
    /// Only files of this job.
    pub job: Option<JobId>,
    /// Most files: within [`FILE_PAGE`].
    pub page_size: u32,
}

impl TryFrom<pb::FileServiceListRequest> for ListFilesCall {
    type Error = InvalidFields;

    fn try_from(wire: pb::FileServiceListRequest) -> Result<Self, InvalidFields> {
        let pb::FileServiceListRequest { job_id, page_size } = wire;
        Ok(Self {
            job: optional_job(&job_id).at("job_id")?,
            page_size: page(page_size, FILE_PAGE),
        })
    }
}

impl From<&ListFilesCall> for pb::FileServiceListRequest {
    fn from(call: &ListFilesCall) -> Self {
        let ListFilesCall { job, page_size } = call;
        Self {
            job_id: job.map(|job| job.to_string()).unwrap_or_default(),
            page_size: *page_size,
        }
    }
}

/// The first message of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadStart {
    /// Name of the file: words, never a path.
    pub name: String,
    /// What the content must hash to.
    pub sha256: Option<[u8; 32]>,
    /// What the file survives; `None` is [`Durability::Process`].
    pub durability: Option<Durability>,
}

impl TryFrom<pb::UploadMetadata> for UploadStart {
    type Error = InvalidFields;

    fn try_from(wire: pb::UploadMetadata) -> Result<Self, InvalidFields> {
        let pb::UploadMetadata {
            name,
            sha256,
            durability,
        } = wire;
        let mut check = Checker::default();
        let name = check.take("metadata.name", file_name(name));
        let sha256 = (!sha256.is_empty()).then(|| digest(&sha256)).transpose();
        let sha256 = check.take("metadata.sha256", sha256);
        let durability = check.take("metadata.durability", durability_of(durability));
        check.finish(Self {
            name: name.unwrap_or_default(),
            sha256: sha256.flatten(),
            durability: durability.flatten(),
        })
    }
}

impl From<&UploadStart> for pb::UploadMetadata {
    fn from(start: &UploadStart) -> Self {
        let UploadStart {
            name,
            sha256,
            durability,
        } = start;
        Self {
            name: name.clone(),
            sha256: sha256.map(|digest| digest.to_vec()).unwrap_or_default(),
            durability: durability
                .map_or(pb::Durability::Unspecified, durability_to_wire)
                .into(),
        }
    }
}

/// The id in field `job_id`.
///
/// # Errors
/// When it is not one.
pub fn job_id(text: &str) -> Result<JobId, InvalidFields> {
    id(text).at("job_id")
}

/// The id in field `file_id`.
///
/// # Errors
/// When it is not one.
pub fn file_id(text: &str) -> Result<FileId, InvalidFields> {
    id(text).at("file_id")
}

fn disconnect_policy(number: i32) -> Result<DisconnectPolicy, InvalidFields> {
    Ok(match known(number)? {
        pb::DisconnectPolicy::Unspecified | pb::DisconnectPolicy::Cancel => DisconnectPolicy::Cancel,
        pb::DisconnectPolicy::Detach => DisconnectPolicy::Detach,
    })
}

fn key(text: String) -> Result<Option<String>, InvalidFields> {
    if text.len() > IDEMPOTENCY_KEY_MAX {
        return Err(InvalidFields::one(
            "",
            format!("must be at most {IDEMPOTENCY_KEY_MAX} bytes"),
        ));
    }
    Ok(Some(text).filter(|key| !key.is_empty()))
}

fn file_name(name: String) -> Result<String, InvalidFields> {
    if name.len() > FILE_NAME_MAX || name.chars().any(char::is_control) {
        let problem = format!("must be at most {FILE_NAME_MAX} bytes without control characters");
        return Err(InvalidFields::one("", problem));
    }
    Ok(name)
}

fn page(asked: u32, (default, most): (u32, u32)) -> u32 {
    if asked == 0 { default } else { asked.min(most) }
}

/// Takes the place of a draft that was refused; [`Checker::finish`] never lets it out.
fn stand_in() -> JobDraft {
    JobDraft::new(Program::Command { argv: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn requests_survive_the_wire(draft in samples::draft(), key in samples::some_text(), detach: bool, seq in 1u64..) {
            let on_disconnect = if detach { DisconnectPolicy::Detach } else { DisconnectPolicy::Cancel };
            let execute = ExecuteCall { draft: draft.clone(), idempotency_key: key.clone(), on_disconnect };
            prop_assert_eq!(ExecuteCall::try_from(pb::ExecuteRequest::from(&execute)), Ok(execute));
            let submit = SubmitCall { draft, idempotency_key: key };
            prop_assert_eq!(SubmitCall::try_from(pb::SubmitRequest::from(&submit)), Ok(submit));
            let watch = WatchCall { job: JobId::generate(), from_seq: seq };
            prop_assert_eq!(WatchCall::try_from(pb::WatchRequest::from(&watch)), Ok(watch));
        }

        #[test]
        fn lists_survive_the_wire(filter in samples::filter(), page_size in 1..=JOB_PAGE.1, page_token in samples::some_text()) {
            let jobs = ListJobsCall { filter, page_size, page_token };
            prop_assert_eq!(ListJobsCall::try_from(pb::ExecutionServiceListRequest::from(&jobs)), Ok(jobs));
            let files = ListFilesCall { job: Some(JobId::generate()), page_size };
            prop_assert_eq!(ListFilesCall::try_from(pb::FileServiceListRequest::from(&files)), Ok(files));
        }

        #[test]
        fn uploads_survive_the_wire(name in "[^\\p{Cc}]{0,64}", sha256 in any::<Option<[u8; 32]>>(), power: bool) {
            let durability = power.then_some(Durability::PowerLoss);
            let start = UploadStart { name, sha256, durability };
            prop_assert_eq!(UploadStart::try_from(pb::UploadMetadata::from(&start)), Ok(start));
        }
    }

    #[test]
    fn fields_of_a_request_are_named_from_its_top() {
        let wire = pb::ExecuteRequest {
            spec: Some(pb::JobSpec {
                limits: Some(pb::Limits {
                    wall_time: Some(prost_types::Duration {
                        seconds: -1,
                        nanos: 0,
                    }),
                    ..pb::Limits::default()
                }),
                ..pb::JobSpec::default()
            }),
            idempotency_key: "k".repeat(256),
            on_disconnect: 9,
        };
        let InvalidFields(bad) = ExecuteCall::try_from(wire).unwrap_err();
        let fields: Vec<&str> = bad.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.program",
                "spec.limits.wall_time",
                "idempotency_key",
                "on_disconnect"
            ]
        );
        let empty = ExecuteCall::try_from(pb::ExecuteRequest::default());
        assert_eq!(empty, Err(InvalidFields::one("spec", "is required")));
    }

    #[test]
    fn ids_sizes_and_words_from_outside_are_checked() {
        assert_eq!(job_id("../x").unwrap_err().0[0].field, "job_id");
        assert_eq!(file_id("").unwrap_err().0[0].field, "file_id");
        let wire = pb::ExecutionServiceListRequest {
            page_size: u32::MAX,
            ..Default::default()
        };
        assert_eq!(ListJobsCall::try_from(wire).unwrap().page_size, JOB_PAGE.1);
        assert_eq!(
            ListJobsCall::try_from(pb::ExecutionServiceListRequest::default())
                .unwrap()
                .page_size,
            JOB_PAGE.0
        );
        let filter = JobFilter {
            states: vec!["nonsense".into()],
            ..JobFilter::default()
        };
        let call = ListJobsCall {
            filter,
            page_size: 1,
            page_token: None,
        };
        let refused = ListJobsCall::try_from(pb::ExecutionServiceListRequest::from(&call)).unwrap_err();
        assert_eq!(refused.0[0].field, "filter.states[0]");
    }
}
