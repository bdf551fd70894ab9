//! What a person is told about the end of a job, on stderr. A program that simply ended says nothing.

use crate::quantity::human_bytes;
use crate::report::describe_failure;
use crate::signal_name::signal_name;
use crate::terminal::visible;
use brig_core::outcome::{Failure, Outcome, StreamSummary, TimeLimit, Verdict};
use brig_core::store::JobResult;

/// The lines, in order. `received` are the bytes that came through of stdout and stderr.
pub(crate) fn end_of_job(result: &JobResult, received: [u64; 2]) -> Vec<String> {
    match result {
        JobResult::Ran(outcome) => end_of_program(outcome, received),
        JobResult::Failed(failure) => {
            let remedy = match failure {
                Failure::SetupError { remedy, .. } if !remedy.is_empty() => {
                    Some(format!("what to do: {remedy}"))
                }
                Failure::SetupError { .. } => Some("`brig doctor` shows what this machine gives".to_owned()),
                Failure::Interrupted { .. } | Failure::InternalError { .. } | Failure::QueueExpired => None,
            };
            std::iter::once(describe_failure(failure)).chain(remedy).collect()
        }
        JobResult::CancelledInQueue => vec!["the job was cancelled before it started".to_owned()],
    }
}

fn end_of_program(outcome: &Outcome, received: [u64; 2]) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(sentence(&outcome.verdict));
    lines.extend(outcome.hints.iter().map(|hint| visible(hint)));
    if outcome.hints.is_empty() {
        lines.extend(advice(&outcome.verdict).map(str::to_owned));
    }
    let told = outcome
        .hints
        .iter()
        .any(|hint| hint.contains("the sandbox refused"));
    // A program that ended well got along without what it was refused.
    if outcome.verdict != (Verdict::Exited { code: 0 }) && !told {
        lines.extend(refused(outcome));
    }
    for (stream, summary, received) in [
        ("stdout", outcome.stdout, received[0]),
        ("stderr", outcome.stderr, received[1]),
    ] {
        lines.extend(missing_output(stream, summary, received, &outcome.verdict));
    }
    let skipped = outcome.skipped_files.iter();
    lines.extend(skipped.map(|file| {
        format!(
            "not collected: {} ({})",
            visible(&file.path),
            visible(&file.reason)
        )
    }));
    lines
}

fn sentence(verdict: &Verdict) -> Option<String> {
    match verdict {
        Verdict::Exited { .. } => None,
        Verdict::Signalled { signal } => Some(format!("the program was killed by {}", signal_name(*signal))),
        Verdict::TimedOut {
            limit: TimeLimit::Wall,
        } => Some("the program reached its time limit and was ended".into()),
        Verdict::TimedOut {
            limit: TimeLimit::Cpu,
        } => Some("the program reached its CPU-time limit and was ended".into()),
        Verdict::OutOfMemory => Some("the program reached its memory limit and was ended".into()),
        Verdict::OutputLimit => Some("the program wrote more output than it may and was ended".into()),
        Verdict::DiskLimit => Some("the program wrote a file larger than it may and was ended".into()),
        Verdict::RefusedCall { name } => Some(format!(
            "the program was killed because of the refused system call {}",
            visible(name)
        )),
        Verdict::Cancelled => Some("the job was cancelled".into()),
    }
}

/// Which option raises the limit, where the engine gave no hint.
fn advice(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::TimedOut {
            limit: TimeLimit::Wall,
        } => Some("raise the limit with --timeout"),
        Verdict::TimedOut {
            limit: TimeLimit::Cpu,
        } => Some("raise the limit with --cpu-time"),
        Verdict::OutOfMemory => Some("raise the limit with --memory"),
        Verdict::OutputLimit => Some("raise the limit with --output-limit"),
        Verdict::DiskLimit => Some("raise the limit with --workspace"),
        Verdict::Exited { .. }
        | Verdict::Signalled { .. }
        | Verdict::RefusedCall { .. }
        | Verdict::Cancelled => None,
    }
}

fn refused(outcome: &Outcome) -> Option<String> {
    let calls: Vec<String> = outcome
        .refused_calls
        .iter()
        .map(|call| {
            if call.count > 1 {
                format!("{} ({} times)", call.name, call.count)
            } else {
                call.name.clone()
            }
        })
        .collect();
    let more = if outcome.flags.refused_calls_truncated {
        " and more"
    } else {
        ""
    };
    (!calls.is_empty()).then(|| format!("the sandbox refused: {}{more}", visible(&calls.join(", "))))
}

fn missing_output(stream: &str, summary: StreamSummary, received: u64, verdict: &Verdict) -> Option<String> {
    // Beyond the output limit nothing is passed on, however much is kept: the verdict said it.
    (received < summary.produced_bytes && *verdict != Verdict::OutputLimit).then(|| {
        format!(
            "{stream} is truncated: {} of {} shown, head and tail (--output-kept raises it)",
            human_bytes(received),
            human_bytes(summary.produced_bytes)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use brig_core::exit::RefusedCall;
    use brig_core::outcome::{Flags, Usage};
    use brig_core::receipt::Receipt;

    fn outcome(verdict: Verdict) -> Outcome {
        Outcome {
            verdict,
            exception: None,
            value: None,
            stdout: StreamSummary::default(),
            stderr: StreamSummary::default(),
            usage: Usage::default(),
            flags: Flags::default(),
            refused_calls: vec![RefusedCall {
                name: "mount".into(),
                count: 2,
            }],
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

    fn lines(outcome: Outcome) -> Vec<String> {
        end_of_job(&JobResult::Ran(Box::new(outcome)), [0; 2])
    }

    #[test]
    fn a_program_that_ended_well_says_nothing() {
        assert_eq!(lines(outcome(Verdict::Exited { code: 0 })), Vec::<String>::new());
    }

    #[test]
    fn a_failed_program_hears_what_was_refused() {
        assert_eq!(
            lines(outcome(Verdict::Exited { code: 1 })),
            ["the sandbox refused: mount (2 times)"]
        );
    }

    #[test]
    fn a_limit_says_which_option_raises_it() {
        for (verdict, option) in [
            (
                Verdict::TimedOut {
                    limit: TimeLimit::Wall,
                },
                "--timeout",
            ),
            (
                Verdict::TimedOut {
                    limit: TimeLimit::Cpu,
                },
                "--cpu-time",
            ),
            (Verdict::OutOfMemory, "--memory"),
            (Verdict::OutputLimit, "--output-limit"),
            (Verdict::DiskLimit, "--workspace"),
        ] {
            assert!(lines(outcome(verdict)).join("\n").contains(option), "{option}");
        }
    }

    #[test]
    fn a_hint_of_the_engine_replaces_the_general_advice() {
        let mut outcome = outcome(Verdict::OutOfMemory);
        outcome.hints = vec!["memory limit 512 MiB reached: raise it with --memory\u{1b}[2J".into()];
        let told = lines(outcome);
        assert_eq!(told.iter().filter(|line| line.contains("--memory")).count(), 1);
        assert!(!told.join("").contains('\u{1b}'));
    }

    #[test]
    fn what_a_hint_says_of_refused_calls_is_not_said_again() {
        let mut outcome = outcome(Verdict::Exited { code: 1 });
        outcome.hints = vec!["the sandbox refused the system call mount (2 times)".into()];
        assert_eq!(lines(outcome).len(), 1);
    }

    #[test]
    fn output_beyond_the_limit_is_not_called_truncated() {
        let mut outcome = outcome(Verdict::OutputLimit);
        outcome.stdout.produced_bytes = (1 << 20) + 1;
        let told = end_of_job(&JobResult::Ran(Box::new(outcome)), [1 << 20, 0]);
        assert!(!told.join("").contains("truncated"), "{told:?}");
    }

    #[test]
    fn output_that_did_not_come_through_is_told() {
        let mut outcome = outcome(Verdict::Exited { code: 0 });
        outcome.stdout = StreamSummary {
            produced_bytes: 3 << 20,
            kept_bytes: 1 << 20,
        };
        let told = end_of_job(&JobResult::Ran(Box::new(outcome)), [1 << 20, 0]);
        assert_eq!(
            told,
            ["stdout is truncated: 1 MiB of 3 MiB shown, head and tail (--output-kept raises it)"]
        );
    }

    #[test]
    fn a_refusal_to_run_comes_with_what_to_do() {
        let failure = Failure::SetupError {
            stage: "clone".into(),
            item: "user namespace".into(),
            errno: 1,
            remedy: "run `sysctl x`".into(),
        };
        let told = end_of_job(&JobResult::Failed(failure), [0; 2]);
        assert_eq!(
            told[0],
            "the cell could not be set up: clone (user namespace): Operation not permitted (os error 1)"
        );
        assert_eq!(told[1], "what to do: run `sysctl x`");
    }
}
