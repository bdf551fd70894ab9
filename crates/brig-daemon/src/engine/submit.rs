//! Accepting a job: check, remember the secrets, store, wake the dispatcher.

use super::{Caller, Engine, EngineError};
use crate::clock;
use brig_core::limits::FieldViolation;
use brig_core::spec::{Content, Durability, JobDraft, JobSpec, Program, SpecDefaults};
use brig_core::store::{IdempotencyKey, NewJob, Submitted};
use brig_core::{EventBody, JobEventRecord, JobId, Timestamp};
use sha2::{Digest, Sha256};
use tracing::info;

/// Which method accepts the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// The caller waits for the end.
    Execute,
    /// The caller wants a promise.
    Submit,
}

impl Method {
    fn word(self) -> &'static str {
        match self {
            Self::Execute => "Execute",
            Self::Submit => "Submit",
        }
    }

    /// What a job's record survives when the caller names nothing.
    fn durability(self) -> Durability {
        match self {
            Self::Execute => Durability::Process,
            Self::Submit => Durability::PowerLoss,
        }
    }
}

/// A request to run something.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) caller: Caller,
    pub(crate) method: Method,
    /// The id that a new job gets; chosen early so that its events can be awaited before it exists.
    pub(crate) id: JobId,
    pub(crate) draft: JobDraft,
    pub(crate) idempotency_key: Option<String>,
}

impl Engine {
    /// Accepts a job; when this returns, its record is stored.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<Submitted, EngineError> {
        let Submission {
            caller,
            method,
            id,
            draft,
            idempotency_key,
        } = submission;
        if self.draining.is_cancelled() {
            return Err(EngineError::Draining);
        }
        let idempotency = idempotency(method, idempotency_key, &draft)?;
        let defaults = SpecDefaults {
            limits: self.settings.limits,
            isolation: self.settings.isolation,
            durability: method.durability(),
        };
        let spec = draft.validate(&defaults).map_err(EngineError::Invalid)?;
        self.check_image(&spec)?;
        self.check_sizes(&caller, &spec).await?;

        let expires = spec.queue_timeout;
        self.secrets.keep(id, &spec);
        let job = NewJob {
            id,
            tenant: caller.tenant,
            created_by: caller.name,
            spec,
            idempotency,
            queue_limit: self.settings.queue_limit,
        };
        let now = clock::now();
        let submitted = match self.store.submit(job, now).await {
            Ok(submitted) => submitted,
            Err(error) => {
                self.secrets.forget(id);
                return Err(error.into());
            }
        };
        match submitted {
            Submitted::New(_) => {
                self.publish(vec![queued_event(id, now)], None);
                self.work.notify_one();
                self.expiry.not_later_than(now.plus(expires));
                self.metrics.job_accepted(method.word());
                info!(job = %id, method = method.word(), "accepted");
            }
            Submitted::Existing(_) => self.secrets.forget(id),
        }
        Ok(submitted)
    }

    fn check_image(&self, spec: &JobSpec) -> Result<(), EngineError> {
        if self.settings.images.contains(&spec.image.0) {
            return Ok(());
        }
        let images = self.settings.images.join(", ");
        Err(EngineError::field(
            "image",
            format!(
                "there is no image named {:?}; this daemon has: {images}",
                spec.image.0
            ),
        ))
    }

    /// Everything that is placed must exist and fit into the workspace.
    async fn check_sizes(&self, caller: &Caller, spec: &JobSpec) -> Result<(), EngineError> {
        let mut bad = Vec::new();
        let mut total: u64 = 0;
        for (field, content) in contents(spec) {
            total = total.saturating_add(match content {
                Content::Inline(blob) => u64::try_from(blob.0.len()).unwrap_or(u64::MAX),
                Content::Stored(file) => match self.store.get_file(&caller.tenant, *file).await {
                    Ok(record) => record.size,
                    Err(brig_core::store::StoreError::NotFound) => {
                        bad.push(FieldViolation::new(
                            format!("{field}.file_id"),
                            "there is no such file",
                        ));
                        0
                    }
                    Err(error) => return Err(error.into()),
                },
            });
        }
        if bad.is_empty() && total > spec.limits.workspace.0 {
            let text = format!(
                "code, stdin and inputs have {total} bytes together, more than the workspace's {}",
                spec.limits.workspace
            );
            bad.push(FieldViolation::new("limits.workspace_bytes", text));
        }
        if bad.is_empty() {
            Ok(())
        } else {
            Err(EngineError::Invalid(bad))
        }
    }
}

/// The first event of a job, exactly as the store wrote it: reading it back would cost a round trip.
fn queued_event(job: JobId, time: Timestamp) -> JobEventRecord {
    JobEventRecord {
        job,
        seq: 1,
        attempt: 0,
        time,
        body: EventBody::Queued,
    }
}

/// Every content of a spec with the name of its field.
fn contents(spec: &JobSpec) -> impl Iterator<Item = (String, &Content)> {
    let code = match &spec.program {
        Program::Python { code, .. } => Some(("program.python.code".to_owned(), code)),
        Program::Command { .. } => None,
    };
    let stdin = spec.stdin.iter().map(|content| ("stdin".to_owned(), content));
    let inputs = spec.inputs.iter().enumerate();
    let inputs = inputs.map(|(index, input)| (format!("inputs[{index}].content"), &input.content));
    code.into_iter().chain(stdin).chain(inputs)
}

/// The key with the digest of everything that the caller asked for, secrets left out.
fn idempotency(
    method: Method,
    key: Option<String>,
    draft: &JobDraft,
) -> Result<Option<IdempotencyKey>, EngineError> {
    let Some(key) = key else {
        return Ok(None);
    };
    // One draft has one text: fields in order, maps sorted.
    let text =
        serde_json::to_vec(draft).map_err(|_cannot_happen| EngineError::Lost("the request's digest"))?;
    Ok(Some(IdempotencyKey {
        method: method.word().to_owned(),
        key,
        body_digest: Sha256::digest(text).into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use brig_core::spec::{Blob, EnvEntry, EnvValue, Secret};

    fn draft(code: &str, secret: &str) -> JobDraft {
        let code = Content::Inline(Blob(code.as_bytes().to_vec()));
        let mut draft = JobDraft::new(Program::Python {
            code,
            file: None,
            args: vec![],
        });
        draft.env.push(EnvEntry {
            name: "TOKEN".into(),
            value: EnvValue::Secret(Secret::new(secret.into())),
        });
        draft
    }

    fn digest(draft: &JobDraft) -> [u8; 32] {
        idempotency(Method::Submit, Some("k".into()), draft)
            .unwrap()
            .unwrap()
            .body_digest
    }

    #[test]
    fn the_digest_covers_the_program_but_no_secret() {
        assert_eq!(digest(&draft("1", "a")), digest(&draft("1", "b")));
        assert_ne!(digest(&draft("1", "a")), digest(&draft("2", "a")));
    }
}
