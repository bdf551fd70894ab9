//! From a stored job to its record: lists and texts that would not fit into a message are cut, and say so.

use super::{
    JobRecord, RecordedContent, RecordedEnvEntry, RecordedInput, RecordedProgram, RecordedSpec, StateKind,
};
use brig_core::outcome::{Exception, Failure, Outcome};
use brig_core::receipt::Receipt;
use brig_core::spec::{Blob, Content, EnvEntry, EnvValue, InputFile, JobSpec, Program};
use brig_core::store::{Job, JobResult};

const KIB: usize = 1024;

/// How much room the parts of a record may take. All of [`Room::FULL`] together stays below 4 MiB; a hundred
/// times [`Room::BRIEF`], a page of a list, does too.
struct Room {
    list: usize,
    argv: usize,
    text: usize,
    files: usize,
    failure: usize,
}

impl Room {
    const FULL: Self = Self {
        list: 192 * KIB,
        argv: 64 * KIB,
        text: 256 * KIB,
        files: 1_280 * KIB,
        failure: 64 * KIB,
    };
    const BRIEF: Self = Self {
        list: 0,
        argv: KIB,
        text: 0,
        files: 0,
        failure: KIB,
    };
}

impl JobRecord {
    /// The whole record. Only lists and texts that would not fit into a message are cut, and say so.
    #[must_use]
    pub fn full(job: &Job) -> Self {
        Self::within(job, &Room::FULL)
    }

    /// The record for lists: without the long parts of the spec and the result.
    #[must_use]
    pub fn brief(job: &Job) -> Self {
        Self::within(job, &Room::BRIEF)
    }

    fn within(job: &Job, room: &Room) -> Self {
        // The tenant is left out on purpose: a caller has one, and learns of no other.
        let Job {
            id,
            tenant: _,
            created_by,
            created,
            spec,
            state,
            attempts,
            started,
            ended,
            result,
            last_seq,
        } = job;
        let result = result.as_ref().map(|result| match result {
            JobResult::Ran(outcome) => JobResult::Ran(Box::new(fit_outcome(outcome, room))),
            JobResult::Failed(failure) => JobResult::Failed(fit_failure(failure, room)),
            JobResult::CancelledInQueue => JobResult::CancelledInQueue,
        });
        Self {
            id: *id,
            state: StateKind::from(state),
            created_by: cut(created_by, KIB),
            created: *created,
            started: *started,
            ended: *ended,
            attempts: *attempts,
            last_seq: *last_seq,
            spec: fit_spec(spec, room),
            result,
        }
    }
}

fn fit_spec(spec: &JobSpec, room: &Room) -> RecordedSpec {
    let JobSpec {
        program,
        stdin,
        env,
        inputs,
        outputs,
        limits,
        isolation,
        network,
        backend,
        image,
        labels,
        queue_timeout,
        priority,
        retry,
        durability,
    } = spec;
    let mut omitted = 0;
    RecordedSpec {
        program: fit_program(program, room, &mut omitted),
        stdin: stdin.as_ref().map(recorded),
        env: fit(env, room.list, &mut omitted, |EnvEntry { name, value }| {
            let secret = matches!(value, EnvValue::Secret(_));
            (
                name.len(),
                RecordedEnvEntry {
                    name: name.clone(),
                    secret,
                },
            )
        }),
        inputs: fit(
            inputs,
            room.list,
            &mut omitted,
            |InputFile { path, content, mode }| {
                let input = RecordedInput {
                    path: path.clone(),
                    content: recorded(content),
                    mode: *mode,
                };
                (path.as_str().len(), input)
            },
        ),
        outputs: fit(outputs, room.list, &mut omitted, |pattern| {
            (pattern.as_str().len(), pattern.clone())
        }),
        limits: *limits,
        isolation: *isolation,
        network: *network,
        backend: backend.clone(),
        image: image.clone(),
        labels: labels.clone(),
        queue_timeout: *queue_timeout,
        priority: *priority,
        retry: *retry,
        durability: *durability,
        omitted,
    }
}

fn fit_program(program: &Program, room: &Room, omitted: &mut u32) -> RecordedProgram {
    let words = |list: &Vec<String>, omitted: &mut u32| {
        fit(list, room.argv, omitted, |word| (word.len(), word.clone()))
    };
    match program {
        Program::Python { code, file, args } => RecordedProgram::Python {
            code: recorded(code),
            file: file.clone(),
            args: words(args, omitted),
        },
        Program::Command { argv } => RecordedProgram::Command {
            argv: words(argv, omitted),
        },
    }
}

fn recorded(content: &Content) -> RecordedContent {
    match content {
        Content::Inline(Blob(bytes)) => {
            RecordedContent::Inline(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
        }
        Content::Stored(file) => RecordedContent::Stored(*file),
    }
}

fn fit_outcome(outcome: &Outcome, room: &Room) -> Outcome {
    let Outcome {
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
    } = outcome;
    let (mut files_cut, mut skipped_cut, mut rest_cut) = (0, 0, 0);
    let files = fit(files, room.files, &mut files_cut, |file| {
        (file.path.len() + 64, file.clone())
    });
    let skipped_files = fit(skipped_files, room.list, &mut skipped_cut, |skipped| {
        (skipped.path.len() + skipped.reason.len(), skipped.clone())
    });
    let mut hints = fit(hints, room.list, &mut rest_cut, |hint| (hint.len(), hint.clone()));
    if room.files > 0 && files_cut > 0 {
        hints.push(format!(
            "{files_cut} more files were collected; `List` of the file service names them"
        ));
    }
    if room.list > 0 && skipped_cut > 0 {
        hints.push(format!("{skipped_cut} more files matched but were not collected"));
    }
    Outcome {
        verdict: verdict.clone(),
        exception: exception
            .as_ref()
            .and_then(|exception| fit_exception(exception, room)),
        value: value
            .as_ref()
            .filter(|_| room.text > 0)
            .map(|value| cut(value, room.text)),
        stdout: *stdout,
        stderr: *stderr,
        usage: *usage,
        flags: *flags,
        refused_calls: fit(refused_calls, room.list, &mut rest_cut, |call| {
            (call.name.len(), call.clone())
        }),
        files,
        skipped_files,
        hints,
        receipt: fit_receipt(receipt, room, &mut rest_cut),
    }
}

fn fit_exception(exception: &Exception, room: &Room) -> Option<Exception> {
    let Exception {
        name,
        message,
        frames,
        traceback,
    } = exception;
    let mut omitted = 0;
    (room.text > 0).then(|| Exception {
        name: cut(name, KIB),
        message: cut(message, room.text),
        frames: fit(frames, room.list, &mut omitted, |frame| {
            (frame.file.len() + frame.function.len(), frame.clone())
        }),
        traceback: cut(traceback, room.text),
    })
}

fn fit_receipt(receipt: &Receipt, room: &Room, omitted: &mut u32) -> Receipt {
    let Receipt {
        backend,
        level,
        image,
        cell,
        layers,
    } = receipt;
    Receipt {
        backend: cut(backend, KIB),
        level: cut(level, KIB),
        image: cut(image, KIB),
        cell: cut(cell, KIB),
        layers: fit(layers, room.list, omitted, |layer| {
            (layer.name.len() + layer.detail.len(), layer.clone())
        }),
    }
}

fn fit_failure(failure: &Failure, room: &Room) -> Failure {
    match failure {
        Failure::SetupError {
            stage,
            item,
            errno,
            remedy,
        } => Failure::SetupError {
            stage: cut(stage, KIB),
            item: cut(item, room.failure),
            errno: *errno,
            remedy: cut(remedy, room.failure),
        },
        Failure::Interrupted { retryable, reason } => Failure::Interrupted {
            retryable: *retryable,
            reason: cut(reason, room.failure),
        },
        Failure::InternalError { correlation_id } => Failure::InternalError {
            correlation_id: cut(correlation_id, KIB),
        },
        Failure::QueueExpired => Failure::QueueExpired,
    }
}

/// As many entries from the front as fit into `room`; counts the rest. An entry costs its text and its frame.
fn fit<T, R>(list: &[T], room: usize, omitted: &mut u32, convert: impl Fn(&T) -> (usize, R)) -> Vec<R> {
    const FRAME: usize = 16;
    let mut left = room;
    let mut kept = Vec::new();
    for entry in list {
        let (size, converted) = convert(entry);
        let Some(rest) = left.checked_sub(size + FRAME) else {
            break;
        };
        left = rest;
        kept.push(converted);
    }
    *omitted = omitted.saturating_add(u32::try_from(list.len() - kept.len()).unwrap_or(u32::MAX));
    kept
}

/// At most `room` bytes of `text`, cut between characters and marked.
fn cut(text: &str, room: usize) -> String {
    const MARK: &str = "… (cut)";
    if text.len() <= room {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(room.saturating_sub(MARK.len()));
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use crate::pb;
    use crate::status::MESSAGE_MAX;
    use brig_core::id::TenantId;
    use brig_core::id::{FileId, JobId};
    use brig_core::job::JobState;
    use brig_core::outcome::{CollectedFile, SkippedFile};
    use brig_core::spec::OutputPattern;
    use brig_core::time::Timestamp;
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        #[test]
        fn an_ordinary_record_is_not_cut(job in samples::job()) {
            let record = JobRecord::full(&job);
            prop_assert_eq!(record.spec.omitted, 0);
            prop_assert_eq!(record.result, job.result);
            prop_assert_eq!(record.state.word(), job.state.word());
        }
    }

    fn huge() -> Job {
        let long = "é".repeat(4_096);
        let mut outcome = samples::plain_outcome();
        outcome.value = Some("é".repeat(4 << 20));
        let frames = vec![
            brig_core::outcome::Frame {
                file: long.clone(),
                line: 1,
                function: long.clone()
            };
            999
        ];
        outcome.exception = Some(Exception {
            name: long.repeat(9),
            message: long.repeat(999),
            frames,
            traceback: long.repeat(999),
        });
        outcome.files = vec![
            CollectedFile {
                path: long.clone(),
                file: FileId::generate(),
                size: 1
            };
            1_024
        ];
        outcome.skipped_files = vec![
            SkippedFile {
                path: long.clone(),
                reason: long.clone()
            };
            9_999
        ];
        outcome.hints = vec![long.clone(); 9_999];
        let mut spec = samples::plain_spec();
        spec.program = Program::Command {
            argv: vec!["a".repeat(128 * KIB); 30],
        };
        let env = |n: usize| EnvEntry {
            name: format!("{n:0>256}"),
            value: EnvValue::Plain(long.clone()),
        };
        spec.env = (0..1_024).map(env).collect();
        spec.outputs =
            vec![OutputPattern::parse(&["x".repeat(255), "y".repeat(255)].join("/")).unwrap(); 1_024];
        spec.labels = (0..64).map(|n| (format!("{n:0>63}"), "v".repeat(255))).collect();
        Job {
            id: JobId::generate(),
            tenant: TenantId::default_tenant(),
            created_by: "uid:0".into(),
            created: Timestamp::from_millis(1),
            spec,
            state: JobState::Finished,
            attempts: 1,
            started: Some(Timestamp::from_millis(2)),
            ended: Some(Timestamp::from_millis(3)),
            result: Some(JobResult::Ran(Box::new(outcome))),
            last_seq: 9,
        }
    }

    #[test]
    fn the_largest_record_fits_into_a_message_and_a_page_of_them_too() {
        let record = JobRecord::full(&huge());
        assert!(pb::Job::from(&record).encoded_len() < MESSAGE_MAX - 64 * KIB);
        assert!(record.spec.omitted > 0);
        let Some(JobResult::Ran(outcome)) = record.result else {
            panic!("it ran")
        };
        assert!(
            outcome
                .hints
                .iter()
                .any(|hint| hint.contains("more files were collected"))
        );
        let brief = pb::Job::from(&JobRecord::brief(&huge())).encoded_len();
        assert!(brief * 100 < MESSAGE_MAX, "{brief}");
    }

    #[test]
    fn the_largest_failure_fits_too() {
        let long = "x".repeat(8 << 20);
        let failure = Failure::SetupError {
            stage: long.clone(),
            item: long.clone(),
            errno: 1,
            remedy: long.clone(),
        };
        let job = Job {
            state: JobState::Failed,
            result: Some(JobResult::Failed(failure)),
            ..huge()
        };
        assert!(pb::Job::from(&JobRecord::full(&job)).encoded_len() < MESSAGE_MAX);
        assert!(pb::Job::from(&JobRecord::brief(&job)).encoded_len() * 100 < MESSAGE_MAX);
    }
}
