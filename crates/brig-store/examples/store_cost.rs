//! What the store costs one job: `cargo run --release -p brig-store --example store_cost [ROUNDS] [DIRECTORY]`.
//!
//! Submits, claims, appends one event and ends, with each durability, on a real disk, and prints p50 and p95.
#![allow(clippy::print_stdout, reason = "a measurement for people, printed")]

use brig_core::event::{EventBody, StreamName};
use brig_core::limits::LimitsPolicy;
use brig_core::outcome::{Flags, StreamSummary, Usage};
use brig_core::spec::{Blob, Content, Durability, IsolationLevel, JobDraft, Program, SpecDefaults};
use brig_core::store::{AttemptEnd, AttemptRef, JobClaimer, JobSubmitter, NewJob, StoreError};
use brig_core::{JobId, JobSpec, Outcome, Receipt, TenantId, Timestamp, Verdict, WorkerId};
use brig_store::SqliteStore;
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(Ok(2_000), |text| text.parse())?;
    // Not the temporary directory: that is often memory.
    let parent = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    println!(
        "{:<11} {:<8} {:>9} {:>9} {:>9}",
        "durability", "act", "p50 µs", "p95 µs", "max µs"
    );
    for durability in [Durability::Process, Durability::PowerLoss] {
        let directory = tempfile::Builder::new()
            .prefix("store-cost-")
            .tempdir_in(&parent)?;
        let store = SqliteStore::open(directory.path()).await?;
        let mut times: [Vec<Duration>; 5] = Default::default();
        for _ in 0..rounds {
            let lap = one_job(&store, durability).await?;
            for (times, time) in times.iter_mut().zip(lap) {
                times.push(time);
            }
        }
        for (act, times) in ["submit", "claim", "append", "end", "all"]
            .into_iter()
            .zip(&mut times)
        {
            report(&format!("{durability:?}"), act, times);
        }
    }
    Ok(())
}

fn report(durability: &str, act: &str, times: &mut [Duration]) {
    times.sort();
    let micros = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6);
    println!(
        "{durability:<11} {act:<8} {:>9.0} {:>9.0} {:>9.0}",
        micros(times.len() / 2),
        micros(times.len() * 95 / 100),
        micros(times.len().saturating_sub(1)),
    );
}

async fn one_job(store: &SqliteStore, durability: Durability) -> Result<[Duration; 5], StoreError> {
    let now = Timestamp::now();
    let id = JobId::generate();
    let job = NewJob {
        id,
        tenant: TenantId::default_tenant(),
        created_by: "uid:0".to_owned(),
        spec: spec(durability),
        idempotency: None,
        queue_limit: 10_000,
    };

    let start = Instant::now();
    store.submit(job, now).await?;
    let submitted = Instant::now();
    let claim = store
        .claim(WorkerId::generate(), Duration::from_secs(30), now)
        .await?
        .ok_or(StoreError::NotFound)?;
    let claimed = Instant::now();
    let attempt = AttemptRef {
        job: id,
        attempt: claim.attempt,
    };
    let started = EventBody::Started { receipt: receipt() };
    store.append(attempt, vec![started], None, now).await?;
    let appended = Instant::now();
    let output = EventBody::Output {
        stream: StreamName::Stdout,
        data: Blob(b"hello\n".to_vec()),
    };
    let end = AttemptEnd::Finished(Box::new(outcome()));
    store.end(attempt, end, vec![output], now).await?;
    let ended = Instant::now();
    Ok([
        submitted - start,
        claimed - submitted,
        appended - claimed,
        ended - appended,
        ended - start,
    ])
}

fn spec(durability: Durability) -> JobSpec {
    let code = Content::Inline(Blob(b"print('hello')".to_vec()));
    let mut draft = JobDraft::new(Program::Python {
        code,
        file: None,
        args: Vec::new(),
    });
    draft.durability = Some(durability);
    let defaults = SpecDefaults {
        limits: LimitsPolicy::default(),
        isolation: IsolationLevel::Strict,
        durability,
    };
    draft.validate(&defaults).unwrap_or_else(|bad| panic!("{bad:?}"))
}

fn receipt() -> Receipt {
    let layer = |name: &str| brig_core::receipt::Layer {
        name: name.to_owned(),
        state: brig_core::receipt::LayerState::Active,
        detail: "about as long as the detail of a layer usually is".to_owned(),
    };
    let names = [
        "namespaces",
        "root",
        "identity",
        "uid",
        "landlock",
        "seccomp",
        "cgroup",
        "rlimits",
    ];
    Receipt {
        backend: "fake".to_owned(),
        level: "strict".to_owned(),
        image: "host".to_owned(),
        cell: "prepared".to_owned(),
        layers: names.map(layer).to_vec(),
    }
}

fn outcome() -> Outcome {
    Outcome {
        verdict: Verdict::Exited { code: 0 },
        exception: None,
        value: None,
        stdout: StreamSummary::default(),
        stderr: StreamSummary::default(),
        usage: Usage::default(),
        flags: Flags::default(),
        refused_calls: Vec::new(),
        files: Vec::new(),
        skipped_files: Vec::new(),
        hints: Vec::new(),
        receipt: receipt(),
    }
}
