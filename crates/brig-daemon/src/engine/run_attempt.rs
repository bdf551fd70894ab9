//! The story of one attempt: open → upload → exec → download → judge → end, and destroy in every case.

use super::collector::Collector;
use super::output::Journal;
use super::seat::Seat;
use super::verdict::{Lived, Unfinished};
use super::{Engine, lease};
use crate::clock;
use brig_core::backend::{BackendError, CollectLimits, Collected, Environment};
use brig_core::outcome::SkippedFile;
use brig_core::store::{AttemptEnd, Claim, Job, JobResult, StoreError};
use brig_core::{EventBody, JobEventRecord, JobState, KillCause};
use std::sync::Arc;
use std::time::Duration;
use tracing::{error, info, warn};

/// Pauses before the final record is tried again.
const END_PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
];

/// The pause after those, while the disk is full: somebody will make room, and a verdict is not thrown away.
const ROOM_PAUSE: Duration = Duration::from_millis(500);

/// Runs a claimed job to its recorded end.
pub(crate) async fn run_attempt(engine: &Arc<Engine>, claim: Claim, seat: &Arc<Seat>) {
    let job = claim.job;
    let journal = Journal::new(job.spec.limits.output_kept.0);
    let commits = Arc::clone(&journal).commit(Arc::clone(engine), Arc::clone(seat));
    let commits = engine.tasks.spawn(commits);
    // Whatever happens here, the journal does not wait for more for ever.
    let closing = CloseOnDrop(&journal);

    let mut cell = None;
    let told = tokio::select! {
        told = live(engine, &job, seat, &journal, &mut cell) => told,
        never = lease::hold(engine, seat) => match never {},
    };

    // What is not committed yet goes into the same transaction as the end.
    drop(closing);
    let rest = commits.await.unwrap_or_default();
    let end = match told {
        Ok(lived) => lived.judge(engine, &job, &journal, &rest),
        Err(unfinished) => unfinished.into_end(engine, &job, seat, cell.as_deref()),
    };
    record_end(engine, &job, seat, end, rest).await;

    // After the record: nobody who waits for the result has to wait for this.
    if let Some(cell) = cell
        && let Err(error) = cell.destroy().await
        // Without the keeper there is no cell either.
        && !matches!(error, BackendError::Lost(_))
    {
        error!(%error, "a cell could not be destroyed");
    }
}

/// Closes a journal.
struct CloseOnDrop<'a>(&'a Journal);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// From an open cell to its program's end and files.
async fn live(
    engine: &Arc<Engine>,
    job: &Job,
    seat: &Seat,
    journal: &Arc<Journal>,
    cell: &mut Option<Box<dyn Environment>>,
) -> Result<Lived, Unfinished> {
    let mut spec = job.spec.clone();
    engine.secrets.restore(job.id, &mut spec)?;
    let inputs = engine.inputs(&job.tenant, &spec).await?;
    let mut execution = engine.execution(&job.tenant, spec, seat.lease_until()).await?;

    let opened = engine.backend.open(&super::inputs::cell_request(job)).await;
    let how = opened.as_ref().ok().map(|cell| cell.receipt().cell.as_str());
    engine.metrics.cell_asked(&job.spec.backend, how);
    let cell = cell.insert(opened?);
    seat.attach(cell.control());
    let receipt = cell.receipt().clone();
    journal.tell(EventBody::Started {
        receipt: receipt.clone(),
    });
    if !inputs.is_empty() {
        cell.upload(inputs).await?;
    }
    if seat.killed().is_some() {
        return Err(Unfinished::Killed);
    }
    // It may have been renewed while the cell was made ready.
    execution.lease_until = seat.lease_until();
    let sink = Arc::clone(journal);
    let exit = cell.exec(execution, sink).await?;
    let collected = if seat.killed() == Some(KillCause::Abandoned) {
        Collected::default()
    } else {
        collect(engine, job, cell.as_mut()).await
    };
    Ok(Lived {
        exit,
        collected,
        receipt,
    })
}

/// Collects the wanted files. The program has run: whatever goes wrong here does not take its verdict away.
async fn collect(engine: &Engine, job: &Job, cell: &mut dyn Environment) -> Collected {
    let wanted = &job.spec.outputs;
    if wanted.is_empty() {
        return Collected::default();
    }
    let limits = CollectLimits {
        bytes: job.spec.limits.workspace,
        ..CollectLimits::default()
    };
    let mut sink = Collector::new(&engine.files, job);
    match cell.download(wanted, limits, &mut sink).await {
        Ok(collected) => collected,
        Err(error) => {
            warn!(%error, "files could not be collected");
            let skipped = wanted.iter().map(|pattern| SkippedFile {
                path: pattern.as_str().to_owned(),
                reason: format!("not collected: {error}"),
            });
            Collected {
                files: sink.into_kept(),
                skipped: skipped.collect(),
            }
        }
    }
}

/// Writes the end, then tells it. A store that fails is asked again while the lease may hold, a full disk until there
/// is room: meanwhile the rescuer of this daemon takes nobody's lease for lost.
async fn record_end(engine: &Engine, job: &Job, seat: &Seat, end: AttemptEnd, rest: Vec<EventBody>) {
    let mut pauses = END_PAUSES.into_iter();
    let _unrecorded = engine.expiry.hold_back();
    loop {
        let now = clock::now();
        match engine
            .store
            .end(seat.attempt, end.clone(), rest.clone(), now)
            .await
        {
            Ok((state, records)) => {
                info!(state = state.word(), "ended");
                if let JobState::Queued { expires, .. } = state {
                    engine.work.notify_one();
                    engine.expiry.not_later_than(expires);
                }
                let record = ended_job(job, state, end, records.last());
                engine.publish(records, record.as_ref());
                return;
            }
            Err(StoreError::Refused(reason)) => {
                warn!(%reason, "somebody else ended this attempt; its result is dropped");
                return;
            }
            Err(error) => match pauses.next() {
                Some(pause) => {
                    warn!(%error, "the end could not be recorded yet");
                    tokio::time::sleep(pause).await;
                }
                None if matches!(error, StoreError::DiskFull) && !engine.is_stopping() => {
                    tokio::time::sleep(ROOM_PAUSE).await;
                }
                None => {
                    error!(%error, "the end could not be recorded; the lease will run out");
                    return;
                }
            },
        }
    }
}

/// The whole record of a job that has ended, as the store has it now: watchers need not read it.
fn ended_job(job: &Job, state: JobState, end: AttemptEnd, last: Option<&JobEventRecord>) -> Option<Arc<Job>> {
    let last = last?;
    let result = match (state, end) {
        (
            JobState::Finished | JobState::Cancelled,
            AttemptEnd::Finished(outcome) | AttemptEnd::Killed(outcome),
        ) => JobResult::Ran(outcome),
        (JobState::Failed, AttemptEnd::Faulted { failure, .. }) => JobResult::Failed(failure),
        // The store chose the words, or the job goes on.
        (_, _) => return None,
    };
    Some(Arc::new(Job {
        state,
        ended: Some(last.time),
        result: Some(result),
        last_seq: last.seq,
        ..job.clone()
    }))
}
