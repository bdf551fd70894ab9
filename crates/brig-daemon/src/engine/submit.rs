//! Accepting a job: check, remember the secrets, store, wake the dispatcher.

use super::{Caller, Engine, EngineError};
use crate::clock;
use brig_core::backend::BackendOffer;
use brig_core::limits::{FieldViolation, LimitsRequest};
use brig_core::spec::{BackendName, Content, Durability, JobDraft, JobSpec, Program, SpecDefaults};
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
        let spec = placed(draft, &self.backend.offers()).and_then(|placed| {
            placed.draft.validate(&SpecDefaults {
                limits: self.settings.limits.on_image(&placed.limits),
                isolation: self.settings.isolation,
                durability: method.durability(),
            })
        });
        let spec = spec.map_err(EngineError::Invalid)?;
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

/// A draft that names its backend and its image.
#[derive(Debug)]
struct Placed {
    draft: JobDraft,
    /// Defaults of jobs on that image.
    limits: LimitsRequest,
}

/// The draft with its backend and its image: those that it names, where they are offered, else the defaults.
fn placed(mut draft: JobDraft, offers: &[BackendOffer]) -> Result<Placed, Vec<FieldViolation>> {
    let offer = match &draft.backend {
        Some(name) => offers.iter().find(|offer| offer.name == *name),
        None => offers.first(),
    };
    let Some(offer) = offer else {
        let wanted = draft.backend.as_ref().map_or("", BackendName::as_str);
        let names = offers.iter().map(|offer| offer.name.as_str());
        let text = format!(
            "there is no backend named {wanted:?}; this daemon has: {}{}",
            words(names),
            if wanted == "docker" { DOCKER_IS_OFF } else { "" }
        );
        return Err(vec![FieldViolation::new("backend", text)]);
    };
    let image = draft.image.get_or_insert_with(|| offer.default_image.clone());
    let Some(offered) = offer.images.iter().find(|offered| offered.name == *image) else {
        let names = offer.images.iter().map(|offered| offered.name.0.as_str());
        let text = format!(
            "there is no image named {:?}; the backend {} has: {}; `brig image build NAME` makes one",
            image.0,
            offer.name,
            words(names)
        );
        return Err(vec![FieldViolation::new("image", text)]);
    };
    draft.backend = Some(offer.name.clone());
    Ok(Placed {
        limits: offered.limits,
        draft,
    })
}

/// What helps where a daemon has no container engine.
const DOCKER_IS_OFF: &str =
    " (`brig serve --docker`, or a section [docker] in its configuration, adds an engine)";

/// Names for a sentence.
fn words<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
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
    use brig_core::backend::ImageOffer;
    use brig_core::spec::{Blob, EnvEntry, EnvValue, ImageName, Secret};

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

    fn offers() -> Vec<BackendOffer> {
        let image = |name: &str| ImageOffer {
            name: ImageName(name.to_owned()),
            digest: None,
            limits: LimitsRequest::default(),
        };
        let jail = BackendOffer {
            name: BackendName::jail(),
            default_image: ImageName::host(),
            images: vec![ImageOffer::host(), image("python-data")],
            trouble: None,
        };
        let docker = BackendOffer {
            name: BackendName::docker(),
            default_image: ImageName("python".to_owned()),
            images: vec![image("python")],
            trouble: None,
        };
        vec![jail, docker]
    }

    fn place(backend: Option<&str>, image: Option<&str>) -> Result<(String, String), Vec<FieldViolation>> {
        let mut draft = draft("1", "a");
        draft.backend = backend.map(|name| BackendName(name.to_owned()));
        draft.image = image.map(|name| ImageName(name.to_owned()));
        let draft = placed(draft, &offers())?.draft;
        Ok((draft.backend.unwrap().0, draft.image.unwrap().0))
    }

    #[test]
    fn each_backend_has_a_default_image_of_its_own() {
        let both = |backend: &str, image: &str| Ok((backend.to_owned(), image.to_owned()));
        assert_eq!(place(None, None), both("jail", "host"));
        assert_eq!(place(Some("docker"), None), both("docker", "python"));
        assert_eq!(place(None, Some("python-data")), both("jail", "python-data"));
    }

    #[test]
    fn an_unknown_backend_or_image_is_named_with_the_choices() {
        let refused = |backend, image| {
            let bad = place(backend, image).unwrap_err().remove(0);
            (bad.field, bad.description)
        };
        let (field, text) = refused(Some("podman"), None);
        assert_eq!(
            (field.as_str(), text.contains("jail, docker")),
            ("backend", true),
            "{text}"
        );
        let (field, text) = refused(Some("docker"), Some("host"));
        assert_eq!(
            (field.as_str(), text.contains("docker has: python;")),
            ("image", true),
            "{text}"
        );
        let (field, text) = refused(None, Some("python"));
        assert_eq!(
            (field.as_str(), text.contains("host, python-data")),
            ("image", true),
            "{text}"
        );
    }

    #[test]
    fn the_digest_covers_the_program_but_no_secret() {
        assert_eq!(digest(&draft("1", "a")), digest(&draft("1", "b")));
        assert_ne!(digest(&draft("1", "a")), digest(&draft("2", "a")));
    }
}
