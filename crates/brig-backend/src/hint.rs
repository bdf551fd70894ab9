//! A refusal explains itself: from what happened to whole sentences for the user. Pure.
//!
//! Each sentence says what was hit, where it stood, and what to change.

use brig_core::exit::{ExitFacts, KillCause, MainExit, RefusedCall};
use brig_core::limits::Limits;
use brig_core::outcome::Exception;
use std::fmt::Write as _;

const SIGXFSZ: u8 = 25;
/// Refused calls that are named in one sentence.
const NAMED_MAX: usize = 6;

/// What the hints are made from.
#[derive(Debug, Clone, Copy)]
pub struct Happened<'a> {
    /// What the kernel counted.
    pub facts: &'a ExitFacts,
    /// What the job was allowed.
    pub limits: &'a Limits,
    /// What the program said it died of.
    pub exception: Option<&'a Exception>,
    /// The module whose import raised that; empty where no import did.
    pub importing: &'a str,
    /// What the runner itself could not do.
    pub trouble: Option<&'a str>,
}

/// The sentences, the most important first.
#[must_use]
pub fn hints(happened: &Happened<'_>) -> Vec<String> {
    let mut hints = Vec::new();
    hints.extend(time(happened));
    hints.extend(memory(happened));
    hints.extend(processes(happened));
    hints.extend(output(happened));
    hints.extend(disk(happened));
    let import = import(happened);
    if import.is_none() {
        hints.extend(refused(happened));
    }
    hints.extend(import);
    hints.extend(network(happened));
    hints.extend(happened.trouble.map(str::to_owned));
    hints
}

/// Whether the program died of an exception whose class or message is among these.
fn raised(happened: &Happened<'_>, names: &[&str], messages: &[&str]) -> bool {
    happened.exception.is_some_and(|exception| {
        names.contains(&exception.name.as_str())
            || messages.iter().any(|message| exception.message.contains(message))
    })
}

fn time(happened: &Happened<'_>) -> Option<String> {
    let (facts, limits) = (happened.facts, happened.limits);
    if facts.killed == Some(KillCause::CpuTime) || facts.signalled_at_cpu_limit(limits) {
        let seconds = limits.cpu_time.as_secs_f64();
        return Some(format!(
            "CPU time limit {seconds} s reached: raise it with --cpu-time"
        ));
    }
    let seconds = limits.wall.as_secs_f64();
    (facts.killed == Some(KillCause::WallTime))
        .then(|| format!("time limit {seconds} s reached: raise it with --timeout"))
}

fn memory(happened: &Happened<'_>) -> Option<String> {
    let memory = happened.limits.memory;
    if happened.facts.oom_kills > 0 {
        let whom = match happened.facts.main {
            MainExit::Signalled(9) => "the program was killed",
            MainExit::Exited(_) | MainExit::Signalled(_) | MainExit::Unknown => {
                "a process that it started was killed"
            }
        };
        return Some(format!(
            "memory limit {memory} reached and {whom}: raise it with --memory (files in /workspace, /tmp and /dev/shm count, too)"
        ));
    }
    raised(happened, &["MemoryError"], &["Cannot allocate memory"])
        .then(|| format!("memory limit {memory} reached: raise it with --memory"))
}

fn processes(happened: &Happened<'_>) -> Option<String> {
    let refused = happened.facts.forks_refused > 0
        || raised(
            happened,
            &[],
            &["can't start new thread", "Resource temporarily unavailable"],
        );
    refused.then(|| {
        format!(
            "limit of {} processes reached (threads count, too): raise it with --pids",
            happened.limits.processes
        )
    })
}

fn output(happened: &Happened<'_>) -> Option<String> {
    (happened.facts.killed == Some(KillCause::OutputLimit)).then(|| {
        format!(
            "the program wrote more than {} to stdout and stderr and was ended: write to a file in /workspace and \
             collect it with --out",
            happened.limits.output_produced
        )
    })
}

fn disk(happened: &Happened<'_>) -> Option<String> {
    let limits = happened.limits;
    if happened.facts.main == MainExit::Signalled(SIGXFSZ) || raised(happened, &[], &["File too large"]) {
        return Some(format!("limit of {} for one file reached", limits.file_size));
    }
    if raised(happened, &[], &["No space left on device"]) {
        return Some(format!(
            "a disk is full: /workspace holds {} in {} files (raise it with --workspace), /tmp {} in {} files, \
             /dev/shm {}",
            limits.workspace, limits.workspace_files, limits.tmp, limits.tmp_files, limits.shm
        ));
    }
    if raised(happened, &[], &["Too many open files"]) {
        return Some(format!(
            "limit of {} open files per process reached",
            limits.open_files
        ));
    }
    raised(happened, &[], &["Read-only file system"])
        .then(|| "the system is read-only for jobs: write below /workspace, /tmp or /dev/shm".to_owned())
}

/// An import that failed: because of a refused call, or because the image does not have the module.
fn import(happened: &Happened<'_>) -> Option<String> {
    let exception = happened.exception?;
    if happened.importing.is_empty() {
        return None;
    }
    let (module, calls) = (happened.importing, &happened.facts.refused_calls);
    if exception.name == "ModuleNotFoundError" {
        return Some(format!(
            "the module {module} is not part of the image: give its file with --in; or name the interpreter of a virtual \
             environment that has it (`python = \"/path/to/venv/bin/python3\"` below `[images.host]`) in the configuration \
             (BRIG_CONFIG=FILE, brig serve --config FILE)"
        ));
    }
    if calls.is_empty() {
        return None;
    }
    Some(format!(
        "the import of {module} failed and the sandbox refused {}",
        named(calls)
    ))
}

/// Refused calls beside an unhappy end.
fn refused(happened: &Happened<'_>) -> Option<String> {
    let facts = happened.facts;
    if facts.refused_calls.is_empty() || facts.main == MainExit::Exited(0) {
        return None;
    }
    let text = named(&facts.refused_calls);
    Some(format!(
        "the sandbox refused {text}: an \"operation not permitted\" may come from this"
    ))
}

fn named(calls: &[RefusedCall]) -> String {
    let mut text = String::from(if calls.len() == 1 {
        "the system call "
    } else {
        "the system calls "
    });
    for (index, call) in calls.iter().take(NAMED_MAX).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let times = if call.count == 1 {
            "once".to_owned()
        } else {
            format!("{} times", call.count)
        };
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{comma}{} ({times})", call.name);
    }
    if calls.len() > NAMED_MAX {
        let _infallible = write!(text, " and {} more", calls.len() - NAMED_MAX);
    }
    text
}

fn network(happened: &Happened<'_>) -> Option<String> {
    let names = [
        "socket.gaierror",
        "gaierror",
        "urllib.error.URLError",
        "requests.exceptions.ConnectionError",
    ];
    raised(
        happened,
        &names,
        &["Network is unreachable", "Temporary failure in name resolution"],
    )
    .then(|| "jobs have no network: only loopback inside the job's own cell works".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use brig_core::limits::LimitsPolicy;

    fn exception(name: &str, message: &str) -> Exception {
        Exception {
            name: name.into(),
            message: message.into(),
            frames: vec![],
            traceback: String::new(),
        }
    }

    fn say(facts: &ExitFacts, exception: Option<&Exception>, importing: &str) -> Vec<String> {
        let limits = LimitsPolicy::default().default;
        hints(&Happened {
            facts,
            limits: &limits,
            exception,
            importing,
            trouble: None,
        })
    }

    #[test]
    fn a_quiet_success_needs_no_words() {
        assert!(say(&ExitFacts::exited(0), None, "").is_empty());
        let calls = vec![RefusedCall {
            name: "mount".into(),
            count: 1,
        }];
        assert!(
            say(
                &ExitFacts {
                    refused_calls: calls,
                    ..ExitFacts::exited(0)
                },
                None,
                ""
            )
            .is_empty()
        );
    }

    #[test]
    fn every_limit_says_how_to_raise_it() {
        let killed = |cause| ExitFacts {
            main: MainExit::Signalled(9),
            killed: Some(cause),
            ..ExitFacts::exited(0)
        };
        assert_eq!(
            say(&killed(KillCause::WallTime), None, ""),
            ["time limit 60 s reached: raise it with --timeout"]
        );
        assert_eq!(
            say(&killed(KillCause::CpuTime), None, ""),
            ["CPU time limit 60 s reached: raise it with --cpu-time"]
        );
        let oom = ExitFacts {
            main: MainExit::Signalled(9),
            oom_kills: 1,
            ..ExitFacts::exited(0)
        };
        assert!(
            say(&oom, None, "")[0].starts_with("memory limit 512 MiB reached and the program was killed")
        );
        let forks = ExitFacts {
            forks_refused: 3,
            ..ExitFacts::exited(1)
        };
        assert_eq!(
            say(&forks, None, ""),
            ["limit of 64 processes reached (threads count, too): raise it with --pids"]
        );
        let full = exception("OSError", "[Errno 28] No space left on device");
        assert!(say(&ExitFacts::exited(1), Some(&full), "")[0].contains("--workspace"));
    }

    #[test]
    fn an_import_that_met_a_refusal_says_so() {
        let facts = ExitFacts {
            refused_calls: vec![RefusedCall {
                name: "io_uring_setup".into(),
                count: 2,
            }],
            ..ExitFacts::exited(1)
        };
        let error = exception("PermissionError", "[Errno 1] Operation not permitted");
        assert_eq!(
            say(&facts, Some(&error), "fastio"),
            ["the import of fastio failed and the sandbox refused the system call io_uring_setup (2 times)"]
        );
        assert_eq!(
            say(&facts, Some(&error), ""),
            [
                "the sandbox refused the system call io_uring_setup (2 times): an \"operation not permitted\" may come from this"
            ]
        );
    }

    #[test]
    fn a_missing_module_is_named() {
        let error = exception("ModuleNotFoundError", "No module named 'numpy'");
        let said = say(&ExitFacts::exited(1), Some(&error), "numpy");
        assert!(said[0].starts_with("the module numpy is not part of the image"));
    }

    #[test]
    fn a_program_that_looks_for_the_network_is_told_that_there_is_none() {
        let error = exception(
            "socket.gaierror",
            "[Errno -3] Temporary failure in name resolution",
        );
        assert!(say(&ExitFacts::exited(1), Some(&error), "")[0].starts_with("jobs have no network"));
    }
}
