//! Arbitrary domain values, for round trips.

mod spec;

pub(crate) use spec::{draft, limits, limits_request, plain_spec};
use spec::{level, spec};

use super::event::{Body, Event};
use super::file::StoredFile;
use super::info::ServerInfo;
use super::record::{JobRecord, StateKind};
use brig_core::backend::{BackendOffer, HostReport, ImageOffer, Obstacle};
use brig_core::event::{EventBody, GapReason, JobEventRecord, StreamName};
use brig_core::exit::RefusedCall;
use brig_core::id::{FileId, JobId, TenantId, WorkerId};
use brig_core::job::{JobState, Lease};
use brig_core::limits::{Bytes, Limits, LimitsPolicy, LimitsRequest};
use brig_core::outcome::{
    CollectedFile, Exception, Failure, Flags, Frame, Outcome, SkippedFile, StreamSummary, TimeLimit, Usage,
    Verdict,
};
use brig_core::receipt::{Layer, LayerState, Receipt};
use brig_core::spec::{
    BackendName, Blob, Content, Durability, EnvEntry, EnvValue, FileMode, ImageName, InputFile,
    IsolationLevel, JobDraft, JobSpec, NetworkPolicy, OutputPattern, Program, RetryPolicy, Secret,
    SpecDefaults, WorkspacePath,
};
use brig_core::store::{Job, JobFilter, JobResult};
use brig_core::time::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use std::time::Duration;

pub(crate) fn text() -> impl Strategy<Value = String> + Clone {
    "\\PC{0,12}"
}

pub(crate) fn some_text() -> impl Strategy<Value = Option<String>> {
    of("\\PC{1,12}")
}

fn span() -> impl Strategy<Value = Duration> + Clone {
    (0u64..1_000_000_000, 0u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n))
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0i64..253_402_300_799_999).prop_map(Timestamp::from_millis)
}

fn size() -> impl Strategy<Value = Bytes> + Clone {
    any::<u64>().prop_map(Bytes)
}

fn file_id() -> impl Strategy<Value = FileId> {
    any::<[u8; 16]>().prop_map(FileId::from_bytes)
}

fn job_id() -> impl Strategy<Value = JobId> {
    any::<[u8; 16]>().prop_map(JobId::from_bytes)
}

/// A clean exit with nothing else to tell.
pub(crate) fn plain_outcome() -> Outcome {
    Outcome {
        verdict: Verdict::Exited { code: 0 },
        exception: None,
        value: None,
        stdout: StreamSummary::default(),
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

pub(crate) fn receipt() -> impl Strategy<Value = Receipt> {
    let state = prop_oneof![
        Just(LayerState::Active),
        Just(LayerState::Partial),
        Just(LayerState::Missing)
    ];
    let layer = (text(), state, text()).prop_map(|(name, state, detail)| Layer { name, state, detail });
    (text(), text(), text(), text(), vec(layer, 0..4)).prop_map(|(backend, level, image, cell, layers)| {
        Receipt {
            backend,
            level,
            image,
            cell,
            layers,
        }
    })
}

pub(crate) fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        any::<u8>().prop_map(|code| Verdict::Exited { code }),
        any::<u8>().prop_map(|signal| Verdict::Signalled { signal }),
        Just(Verdict::TimedOut {
            limit: TimeLimit::Wall
        }),
        Just(Verdict::TimedOut {
            limit: TimeLimit::Cpu
        }),
        Just(Verdict::OutOfMemory),
        Just(Verdict::OutputLimit),
        Just(Verdict::DiskLimit),
        text().prop_map(|name| Verdict::RefusedCall { name }),
        Just(Verdict::Cancelled),
    ]
}

pub(crate) fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        (text(), text(), any::<i32>(), text()).prop_map(|(stage, item, errno, remedy)| Failure::SetupError {
            stage,
            item,
            errno,
            remedy
        }),
        (any::<bool>(), text()).prop_map(|(retryable, reason)| Failure::Interrupted { retryable, reason }),
        text().prop_map(|correlation_id| Failure::InternalError { correlation_id }),
        Just(Failure::QueueExpired),
    ]
}

fn exception() -> impl Strategy<Value = Exception> {
    let frame =
        (text(), any::<u32>(), text()).prop_map(|(file, line, function)| Frame { file, line, function });
    (text(), text(), vec(frame, 0..3), text()).prop_map(|(name, message, frames, traceback)| Exception {
        name,
        message,
        frames,
        traceback,
    })
}

fn usage() -> impl Strategy<Value = Usage> {
    (span(), span(), span(), any::<Option<u64>>(), any::<Option<u32>>()).prop_map(
        |(wall, cpu, queue, memory_peak_bytes, processes_peak)| Usage {
            wall,
            cpu,
            queue,
            memory_peak_bytes,
            processes_peak,
        },
    )
}

fn flags() -> impl Strategy<Value = Flags> {
    any::<(bool, u32, u32, bool)>().prop_map(|(hit, children, leftovers, truncated)| Flags {
        process_limit_hit: hit,
        children_out_of_memory: children,
        leftover_processes_killed: leftovers,
        refused_calls_truncated: truncated,
    })
}

fn stream() -> impl Strategy<Value = StreamSummary> {
    any::<(u64, u64)>().prop_map(|(produced_bytes, kept_bytes)| StreamSummary {
        produced_bytes,
        kept_bytes,
    })
}

pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    let call = (text(), any::<u32>()).prop_map(|(name, count)| RefusedCall { name, count });
    let file =
        (text(), file_id(), any::<u64>()).prop_map(|(path, file, size)| CollectedFile { path, file, size });
    let skipped = (text(), text()).prop_map(|(path, reason)| SkippedFile { path, reason });
    let lists = (
        vec(call, 0..3),
        vec(file, 0..3),
        vec(skipped, 0..3),
        vec(text(), 0..3),
    );
    let said = (of(exception()), of(text()), stream(), stream());
    (verdict(), said, usage(), flags(), lists, receipt()).prop_map(
        |(verdict, (exception, value, stdout, stderr), usage, flags, lists, receipt)| {
            let (refused_calls, files, skipped_files, hints) = lists;
            Outcome {
                verdict,
                exception,
                value,
                stdout,
                stderr,
                usage,
                flags,
                refused_calls,
                files,
                skipped_files,
                hints,
                receipt,
            }
        },
    )
}

pub(crate) fn job() -> impl Strategy<Value = Job> {
    let lease = |attempt| Lease {
        worker: WorkerId::from_bytes([7; 16]),
        attempt,
        until: Timestamp::from_millis(9),
    };
    let result = prop_oneof![
        outcome().prop_map(|outcome| JobResult::Ran(Box::new(outcome))),
        failure().prop_map(JobResult::Failed),
        Just(JobResult::CancelledInQueue),
    ];
    let zero = Timestamp::from_millis(0);
    let state = prop_oneof![
        Just(JobState::Queued {
            attempts_used: 0,
            not_before: zero,
            expires: zero
        }),
        any::<u32>().prop_map(move |attempt| JobState::Running(lease(attempt))),
        any::<u32>().prop_map(move |attempt| JobState::Cancelling(lease(attempt))),
        Just(JobState::Finished),
        Just(JobState::Failed),
        Just(JobState::Cancelled),
    ];
    let times = (time(), of(time()), of(time()));
    (
        job_id(),
        text(),
        times,
        spec(),
        state,
        of(result),
        any::<(u32, u64)>(),
    )
        .prop_map(
            |(id, created_by, (created, started, ended), spec, state, result, (attempts, last_seq))| Job {
                id,
                tenant: TenantId::default_tenant(),
                created_by,
                created,
                spec,
                state,
                attempts,
                started,
                ended,
                result,
                last_seq,
            },
        )
}

pub(crate) fn event_record() -> impl Strategy<Value = JobEventRecord> {
    let stream = prop_oneof![Just(StreamName::Stdout), Just(StreamName::Stderr)];
    let reason = prop_oneof![
        Just(GapReason::OutputKept),
        Just(GapReason::SlowWatcher),
        Just(GapReason::Expired)
    ];
    let body = prop_oneof![
        Just(EventBody::Queued),
        receipt().prop_map(|receipt| EventBody::Started { receipt }),
        (stream, vec(any::<u8>(), 0..30)).prop_map(|(stream, data)| EventBody::Output {
            stream,
            data: Blob(data)
        }),
        text().prop_map(|reason| EventBody::Requeued { reason }),
        Just(EventBody::Cancelling),
        Just(EventBody::Ended {
            state: "finished".into(),
            kind: "exited".into()
        }),
        (any::<(u64, u64, u64)>(), reason).prop_map(|((from_seq, to_seq, bytes), reason)| EventBody::Gap {
            from_seq,
            to_seq,
            bytes,
            reason
        }),
    ];
    (job_id(), any::<u64>(), any::<u32>(), time(), body).prop_map(|(job, seq, attempt, time, body)| {
        JobEventRecord {
            job,
            seq,
            attempt,
            time,
            body,
        }
    })
}

pub(crate) fn event() -> impl Strategy<Value = Event> {
    (event_record(), job()).prop_map(|(record, job)| {
        let body = match record.body {
            EventBody::Queued => Body::Queued,
            EventBody::Started { receipt } => Body::Started { receipt },
            EventBody::Output { stream, data } => Body::Output { stream, data: data.0 },
            EventBody::Requeued { reason } => Body::Requeued { reason },
            EventBody::Cancelling => Body::Cancelling,
            EventBody::Ended { .. } => Body::Ended(Box::new(JobRecord::full(&job))),
            EventBody::Gap {
                from_seq,
                to_seq,
                bytes,
                reason,
            } => Body::Gap {
                from_seq,
                to_seq,
                bytes,
                reason,
            },
        };
        Event {
            job: record.job,
            seq: record.seq,
            attempt: record.attempt,
            time: record.time,
            body,
        }
    })
}

pub(crate) fn filter() -> impl Strategy<Value = JobFilter> {
    let word = proptest::sample::select(StateKind::ALL.to_vec()).prop_map(|state| state.word().to_owned());
    (vec(word, 0..3), btree_map(text(), text(), 0..3), some_text()).prop_map(
        |(states, labels, created_by)| JobFilter {
            states,
            labels,
            created_by,
        },
    )
}

pub(crate) fn stored_file() -> impl Strategy<Value = StoredFile> {
    (
        file_id(),
        text(),
        any::<u64>(),
        any::<[u8; 32]>(),
        time(),
        of(job_id()),
    )
        .prop_map(|(id, name, size, sha256, created, job)| StoredFile {
            id,
            name,
            size,
            sha256,
            created,
            job,
        })
}

pub(crate) fn server_info() -> impl Strategy<Value = ServerInfo> {
    let obstacle = || (text(), text()).prop_map(|(problem, remedy)| Obstacle { problem, remedy });
    let host = (receipt(), vec((level(), of(obstacle())), 0..3))
        .prop_map(|(receipt, levels)| HostReport { receipt, levels });
    let image = (text(), some_text()).prop_map(|(name, digest)| ImageOffer {
        name: ImageName(name),
        digest,
        limits: LimitsRequest::default(),
    });
    let policy = (limits(), limits()).prop_map(|(default, ceiling)| LimitsPolicy { default, ceiling });
    let backend = (text(), text(), vec(image, 0..3), of(obstacle())).prop_map(
        |(name, default_image, images, trouble)| BackendOffer {
            name: BackendName(name),
            default_image: ImageName(default_image),
            images,
            trouble,
        },
    );
    let lists = (vec(backend, 0..3), vec(text(), 0..3));
    (text(), lists, level(), policy, any::<(u32, u32)>(), of(host)).prop_map(
        |(version, (backends, features), default_isolation, limits, (running, queued), host)| ServerInfo {
            version,
            backends,
            default_isolation,
            limits,
            features,
            max_concurrent_jobs: running,
            max_queued_jobs: queued,
            host,
        },
    )
}
