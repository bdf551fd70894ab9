//! The record of a job.

use super::field::{At, InvalidFields, each, id, known, required, unspecified};
use super::record::{
    JobRecord, RecordedContent, RecordedEnvEntry, RecordedInput, RecordedProgram, RecordedSpec, StateKind,
};
use super::spec::{
    durability_of, durability_to_wire, file_mode, file_mode_to_wire, isolation_level, isolation_to_wire,
    network_policy, network_to_wire, optional_path, workspace_path,
};
use super::time::{duration, duration_to_wire, timestamp, timestamp_to_wire};
use crate::pb;
use brig_core::limits::Limits;
use brig_core::outcome::{Failure, Outcome};
use brig_core::spec::{BackendName, ImageName, OutputPattern, RetryPolicy};
use brig_core::store::{Job, JobResult};

impl From<StateKind> for pb::JobState {
    fn from(state: StateKind) -> Self {
        match state {
            StateKind::Queued => Self::Queued,
            StateKind::Running => Self::Running,
            StateKind::Cancelling => Self::Cancelling,
            StateKind::Finished => Self::Finished,
            StateKind::Failed => Self::Failed,
            StateKind::Cancelled => Self::Cancelled,
        }
    }
}

/// The state that the wire's number means.
pub(crate) fn state_kind(number: i32) -> Result<StateKind, InvalidFields> {
    match known(number)? {
        pb::JobState::Unspecified => unspecified(),
        pb::JobState::Queued => Ok(StateKind::Queued),
        pb::JobState::Running => Ok(StateKind::Running),
        pb::JobState::Cancelling => Ok(StateKind::Cancelling),
        pb::JobState::Finished => Ok(StateKind::Finished),
        pb::JobState::Failed => Ok(StateKind::Failed),
        pb::JobState::Cancelled => Ok(StateKind::Cancelled),
    }
}

impl From<&Job> for pb::Job {
    /// The whole record; see [`JobRecord::full`].
    fn from(job: &Job) -> Self {
        Self::from(&JobRecord::full(job))
    }
}

impl From<&JobRecord> for pb::Job {
    fn from(record: &JobRecord) -> Self {
        let JobRecord {
            id,
            state,
            created_by,
            created,
            started,
            ended,
            attempts,
            last_seq,
            spec,
            result,
        } = record;
        let result = result.as_ref().map(|result| match result {
            JobResult::Ran(outcome) => pb::job::Result::Outcome(pb::Outcome::from(outcome.as_ref())),
            JobResult::Failed(failure) => pb::job::Result::Failure(pb::Failure::from(failure)),
            JobResult::CancelledInQueue => pb::job::Result::CancelledInQueue(pb::CancelledInQueue {}),
        });
        Self {
            job_id: id.to_string(),
            state: pb::JobState::from(*state).into(),
            created_by: created_by.clone(),
            create_time: Some(timestamp_to_wire(*created)),
            start_time: started.map(timestamp_to_wire),
            end_time: ended.map(timestamp_to_wire),
            attempts: *attempts,
            last_seq: *last_seq,
            spec: Some(pb::RecordedSpec::from(spec)),
            result,
        }
    }
}

impl TryFrom<pb::Job> for JobRecord {
    type Error = InvalidFields;

    fn try_from(wire: pb::Job) -> Result<Self, InvalidFields> {
        let pb::Job {
            job_id,
            state,
            created_by,
            create_time,
            start_time,
            end_time,
            attempts,
            last_seq,
            spec,
            result,
        } = wire;
        Ok(Self {
            id: id(&job_id).at("job_id")?,
            state: state_kind(state).at("state")?,
            created_by,
            created: required(create_time).and_then(timestamp).at("create_time")?,
            started: start_time.map(timestamp).transpose().at("start_time")?,
            ended: end_time.map(timestamp).transpose().at("end_time")?,
            attempts,
            last_seq,
            spec: required(spec).and_then(RecordedSpec::try_from).at("spec")?,
            result: result.map(job_result).transpose()?,
        })
    }
}

fn job_result(wire: pb::job::Result) -> Result<JobResult, InvalidFields> {
    Ok(match wire {
        pb::job::Result::Outcome(outcome) => {
            JobResult::Ran(Box::new(Outcome::try_from(outcome).at("outcome")?))
        }
        pb::job::Result::Failure(failure) => JobResult::Failed(Failure::try_from(failure).at("failure")?),
        pb::job::Result::CancelledInQueue(pb::CancelledInQueue {}) => JobResult::CancelledInQueue,
    })
}

impl From<&RecordedSpec> for pb::RecordedSpec {
    fn from(spec: &RecordedSpec) -> Self {
        let RecordedSpec {
            program,
            stdin,
            env,
            inputs,
            outputs,
            limits,
            isolation,
            network,
            backend: BackendName(backend),
            image: ImageName(image),
            labels,
            queue_timeout,
            priority,
            retry: RetryPolicy { max_attempts },
            durability,
            omitted,
        } = spec;
        Self {
            program: Some(pb::RecordedProgram::from(program)),
            stdin: stdin.map(pb::RecordedContent::from),
            env: env.iter().map(pb::RecordedEnvEntry::from).collect(),
            inputs: inputs.iter().map(pb::RecordedInput::from).collect(),
            outputs: outputs
                .iter()
                .map(|pattern| pattern.as_str().to_owned())
                .collect(),
            limits: Some(pb::Limits::from(limits)),
            isolation: isolation_to_wire(*isolation).into(),
            network: network_to_wire(*network).into(),
            backend: backend.clone(),
            image: image.clone(),
            labels: labels.clone(),
            queue_timeout: Some(duration_to_wire(*queue_timeout)),
            priority: *priority,
            max_attempts: *max_attempts,
            durability: durability_to_wire(*durability).into(),
            omitted: *omitted,
        }
    }
}

impl TryFrom<pb::RecordedSpec> for RecordedSpec {
    type Error = InvalidFields;

    fn try_from(wire: pb::RecordedSpec) -> Result<Self, InvalidFields> {
        let pb::RecordedSpec {
            program,
            stdin,
            env,
            inputs,
            outputs,
            limits,
            isolation,
            network,
            image,
            labels,
            queue_timeout,
            priority,
            max_attempts,
            durability,
            omitted,
            backend,
        } = wire;
        let pattern = |text: String| {
            OutputPattern::parse(&text).map_err(|problem| InvalidFields::one("outputs", problem))
        };
        Ok(Self {
            program: required(program)
                .and_then(RecordedProgram::try_from)
                .at("program")?,
            stdin: stdin.map(RecordedContent::try_from).transpose().at("stdin")?,
            env: env.into_iter().map(RecordedEnvEntry::from).collect(),
            inputs: each(inputs).at("inputs")?,
            outputs: outputs.into_iter().map(pattern).collect::<Result<_, _>>()?,
            limits: required(limits).and_then(Limits::try_from).at("limits")?,
            isolation: isolation_level(isolation).and_then(required).at("isolation")?,
            network: network_policy(network).at("network")?,
            // A daemon from before there were several says nothing.
            backend: Some(backend)
                .filter(|name| !name.is_empty())
                .map_or_else(BackendName::jail, BackendName),
            image: ImageName(image),
            labels,
            queue_timeout: required(queue_timeout).and_then(duration).at("queue_timeout")?,
            priority,
            retry: RetryPolicy { max_attempts },
            durability: durability_of(durability).and_then(required).at("durability")?,
            omitted,
        })
    }
}

impl From<&RecordedProgram> for pb::RecordedProgram {
    fn from(program: &RecordedProgram) -> Self {
        let kind = match program {
            RecordedProgram::Python { code, file, args } => {
                pb::recorded_program::Kind::Python(pb::RecordedPython {
                    code: Some(pb::RecordedContent::from(*code)),
                    file: file
                        .as_ref()
                        .map(|path| path.as_str().to_owned())
                        .unwrap_or_default(),
                    args: args.clone(),
                })
            }
            RecordedProgram::Command { argv } => {
                pb::recorded_program::Kind::Command(pb::CommandProgram { argv: argv.clone() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::RecordedProgram> for RecordedProgram {
    type Error = InvalidFields;

    fn try_from(wire: pb::RecordedProgram) -> Result<Self, InvalidFields> {
        let pb::RecordedProgram { kind } = wire;
        Ok(match required(kind)? {
            pb::recorded_program::Kind::Python(pb::RecordedPython { code, file, args }) => Self::Python {
                code: required(code)
                    .and_then(RecordedContent::try_from)
                    .at("python.code")?,
                file: optional_path(&file).at("python.file")?,
                args,
            },
            pb::recorded_program::Kind::Command(pb::CommandProgram { argv }) => Self::Command { argv },
        })
    }
}

impl From<RecordedContent> for pb::RecordedContent {
    fn from(content: RecordedContent) -> Self {
        let source = match content {
            RecordedContent::Inline(bytes) => pb::recorded_content::Source::InlineBytes(bytes),
            RecordedContent::Stored(file) => pb::recorded_content::Source::FileId(file.to_string()),
        };
        Self { source: Some(source) }
    }
}

impl TryFrom<pb::RecordedContent> for RecordedContent {
    type Error = InvalidFields;

    fn try_from(wire: pb::RecordedContent) -> Result<Self, InvalidFields> {
        let pb::RecordedContent { source } = wire;
        match required(source)? {
            pb::recorded_content::Source::InlineBytes(bytes) => Ok(Self::Inline(bytes)),
            pb::recorded_content::Source::FileId(file) => id(&file).map(Self::Stored).at("file_id"),
        }
    }
}

impl From<&RecordedEnvEntry> for pb::RecordedEnvEntry {
    fn from(entry: &RecordedEnvEntry) -> Self {
        let RecordedEnvEntry { name, secret } = entry;
        Self {
            name: name.clone(),
            secret: *secret,
        }
    }
}

impl From<pb::RecordedEnvEntry> for RecordedEnvEntry {
    fn from(wire: pb::RecordedEnvEntry) -> Self {
        let pb::RecordedEnvEntry { name, secret } = wire;
        Self { name, secret }
    }
}

impl From<&RecordedInput> for pb::RecordedInput {
    fn from(input: &RecordedInput) -> Self {
        let RecordedInput { path, content, mode } = input;
        Self {
            path: path.as_str().to_owned(),
            content: Some(pb::RecordedContent::from(*content)),
            mode: file_mode_to_wire(*mode).into(),
        }
    }
}

impl TryFrom<pb::RecordedInput> for RecordedInput {
    type Error = InvalidFields;

    fn try_from(wire: pb::RecordedInput) -> Result<Self, InvalidFields> {
        let pb::RecordedInput { path, content, mode } = wire;
        Ok(Self {
            path: workspace_path(&path).at("path")?,
            content: required(content)
                .and_then(RecordedContent::try_from)
                .at("content")?,
            mode: file_mode(mode).at("mode")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_survives_the_wire(job in samples::job()) {
            for record in [JobRecord::full(&job), JobRecord::brief(&job)] {
                prop_assert_eq!(JobRecord::try_from(pb::Job::from(&record)), Ok(record));
            }
        }

        #[test]
        fn no_secret_and_no_content_is_in_a_record(job in samples::job()) {
            let shown = format!("{:?}", pb::Job::from(&job));
            for secret in job.spec.secrets().filter(|secret| secret.len() > 8) {
                prop_assert!(!shown.contains(secret));
            }
        }
    }

    #[test]
    fn a_record_without_a_state_is_refused() {
        assert_eq!(
            state_kind(0),
            Err(InvalidFields::one("", "must not be unspecified"))
        );
        assert!(state_kind(42).is_err());
    }
}
