//! Things that the behaviours are about.

use brig_core::event::{EventBody, JobEventRecord, StreamName};
use brig_core::limits::LimitsPolicy;
use brig_core::outcome::{Flags, StreamSummary, Usage};
use brig_core::spec::{Blob, Content, Durability, IsolationLevel, JobDraft, Program, SpecDefaults};
use brig_core::store::{AttemptEnd, AttemptRef, Claim, FileRecord, IdempotencyKey, NewJob, Store};
use brig_core::{FileId, JobId, JobSpec, Outcome, Receipt, TenantId, Timestamp, Verdict, WorkerId};
use std::sync::Arc;
use std::time::Duration;

/// A store under test.
pub type AnyStore = Arc<dyn Store>;

/// Long enough for everything that a behaviour does.
pub const LEASE: Duration = Duration::from_secs(10);

/// A moment of the store's clock; the behaviours use no other clock.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub fn spec() -> JobSpec {
    let code = Content::Inline(Blob(b"print(1)".to_vec()));
    let draft = JobDraft::new(Program::Python {
        code,
        file: None,
        args: vec![],
    });
    let defaults = SpecDefaults {
        limits: LimitsPolicy::default(),
        isolation: IsolationLevel::Strict,
        durability: Durability::Process,
    };
    draft.validate(&defaults).unwrap()
}

pub fn job_of(name: &str) -> NewJob {
    NewJob {
        id: JobId::generate(),
        tenant: tenant(name),
        created_by: "uid:7".into(),
        spec: spec(),
        idempotency: None,
        queue_limit: 10_000,
    }
}

pub fn job() -> NewJob {
    job_of("default")
}

pub fn keyed(key: &str, body: u8) -> NewJob {
    let idempotency = IdempotencyKey {
        method: "Submit".into(),
        key: key.into(),
        body_digest: [body; 32],
    };
    NewJob {
        idempotency: Some(idempotency),
        ..job()
    }
}

/// Submits a job of a tenant and gives its id.
pub async fn submitted(store: &AnyStore, job: NewJob, now: Timestamp) -> JobId {
    let id = job.id;
    store.submit(job, now).await.unwrap();
    id
}

pub async fn claimed(store: &AnyStore, now: Timestamp) -> Claim {
    store
        .claim(WorkerId::generate(), LEASE, now)
        .await
        .unwrap()
        .expect("a job is waiting")
}

pub fn attempt_of(claim: &Claim) -> AttemptRef {
    AttemptRef {
        job: claim.job.id,
        attempt: claim.attempt,
    }
}

/// Submits, claims and ends one job of the default tenant.
pub async fn ended(store: &AnyStore, job: NewJob, now: Timestamp) -> JobId {
    let id = submitted(store, job, now).await;
    let claim = claimed(store, now).await;
    assert_eq!(claim.job.id, id, "another job was waiting");
    store
        .end(attempt_of(&claim), finished(), vec![], now)
        .await
        .unwrap();
    id
}

pub fn finished() -> AttemptEnd {
    AttemptEnd::Finished(Box::new(outcome(Verdict::Exited { code: 3 })))
}

pub fn killed() -> AttemptEnd {
    AttemptEnd::Killed(Box::new(outcome(Verdict::Cancelled)))
}

pub fn outcome(verdict: Verdict) -> Outcome {
    Outcome {
        verdict,
        exception: None,
        value: Some("42".into()),
        stdout: StreamSummary {
            produced_bytes: 5,
            kept_bytes: 5,
        },
        stderr: StreamSummary::default(),
        usage: Usage::default(),
        flags: Flags::default(),
        refused_calls: vec![],
        files: vec![],
        skipped_files: vec![],
        hints: vec![],
        receipt: Receipt {
            backend: "fake".into(),
            level: "strict".into(),
            image: "host".into(),
            cell: "prepared".into(),
            layers: vec![],
        },
    }
}

pub fn output(text: &[u8]) -> EventBody {
    EventBody::Output {
        stream: StreamName::Stdout,
        data: Blob(text.to_vec()),
    }
}

pub fn file_of(name: &str, job: Option<JobId>, created: Timestamp) -> FileRecord {
    FileRecord {
        id: FileId::generate(),
        tenant: tenant(name),
        name: "data/in.csv".into(),
        size: 1_000,
        sha256: [7; 32],
        created,
        job,
    }
}

pub fn seqs(events: &[JobEventRecord]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

/// Every event of a job, asserted to be numbered without a hole and to be as many as the job says.
pub async fn whole_history(store: &AnyStore, tenant: &TenantId, job: JobId) -> Vec<JobEventRecord> {
    let events = store.events(tenant, job, 1, 100_000).await.unwrap();
    let mut expected = 1;
    for event in &events {
        assert_eq!(event.seq, expected, "a number is missing or used twice");
        expected = match event.body {
            EventBody::Gap { to_seq, .. } => to_seq + 1,
            _ => event.seq + 1,
        };
    }
    assert_eq!(store.get(tenant, job).await.unwrap().last_seq, expected - 1);
    assert_eq!(events[0].body, EventBody::Queued);
    events
}
