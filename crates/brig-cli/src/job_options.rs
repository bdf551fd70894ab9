//! The options that describe a job: the same for `run` and `submit`.

use crate::inputs::{self, LocalFile};
use crate::quantity::parse_duration;
use brig_core::limits::{Bytes, LimitsRequest};
use brig_core::spec::{
    BackendName, EnvEntry, EnvValue, ImageName, IsolationLevel, JobDraft, OutputPattern, Program, Secret,
    WorkspacePath,
};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to run and within which limits.
#[derive(Debug, Args)]
pub(crate) struct JobOptions {
    /// Backend to run in: `jail`, `docker`, or one that the configuration names [default: jail]
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<String>,
    /// Image to run in; `host` is this host's own Python and programs, read-only [default: host; docker: python]
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// Wall-clock limit [default: 60s, at most 300s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// CPU-time limit of all its processes together [default: 60s, at most 300s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) cpu_time: Option<Duration>,
    /// Memory limit, files in /workspace, /tmp and /dev/shm included [default: 512MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Bytes>,
    /// Most processes and threads at once [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pids: Option<u32>,
    /// Size of /workspace [default: 256MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) workspace: Option<Bytes>,
    /// Bytes kept of each output stream, head and tail [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) output_kept: Option<Bytes>,
    /// Output, both streams together, after which the job is ended [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) output_limit: Option<Bytes>,
    /// Set an environment variable; only the ones named here and a few fixed ones are there
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Pass the variable NAME of brig's own environment as a secret: never stored, removed from kept output
    #[arg(long = "secret", value_name = "NAME")]
    pub(crate) secret: Vec<String>,
    /// Place a file or directory in /workspace, under its own name or NAME
    #[arg(long = "in", value_name = "PATH[:NAME]")]
    pub(crate) inputs: Vec<OsString>,
    /// Collect files from /workspace afterwards: `*` and `?` within a name, `**` over directories; a
    /// leading dot is matched by a dot alone
    #[arg(long = "out", value_name = "GLOB", value_parser = parse_pattern)]
    pub(crate) outputs: Vec<OutputPattern>,
    /// Give the program this file as standard input; `-` is brig's own [default: empty]
    #[arg(long, value_name = "FILE|-")]
    pub(crate) stdin: Option<PathBuf>,
    /// How much isolation is required; less is never used
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub(crate) isolation: Option<Level>,
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
}

/// What to run, in one of four ways.
#[derive(Debug, Args)]
pub(crate) struct ProgramArgs {
    /// Run this Python code, as `python3 -c` would
    #[arg(short = 'c', value_name = "CODE", allow_hyphen_values = true)]
    code: Option<String>,
    /// A Python file, or `-` for a program on standard input, then its arguments; after `--`, a command of the image
    /// with its arguments. Brig's own options go before it
    #[arg(
        value_name = "FILE.py|-|-- ARGV",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

/// `--isolation`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Every layer
    Strict,
    /// The control group and the distinct user id may be missing
    Workstation,
}

impl From<Level> for IsolationLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Strict => Self::Strict,
            Level::Workstation => Self::Workstation,
        }
    }
}

/// What the command line says is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `-c CODE [ARGS]`
    Code { code: String, args: Vec<String> },
    /// `FILE.py [ARGS]`
    File { path: PathBuf, args: Vec<String> },
    /// `- [ARGS]`
    Stdin { args: Vec<String> },
    /// `-- ARGV`
    Command { argv: Vec<String> },
}

impl ProgramArgs {
    /// Which of the four ways was used. `line` is the whole command line: the parser does not tell whether there
    /// was a `--` before the words, which makes the difference between a file and a command.
    pub(crate) fn wanted(&self, line: &[OsString]) -> Result<Wanted, UsageError> {
        let Self { code, words } = self;
        if let Some(code) = code {
            return Ok(Wanted::Code {
                code: code.clone(),
                args: words.clone(),
            });
        }
        let before = line
            .len()
            .checked_sub(words.len() + 1)
            .and_then(|index| line.get(index));
        match words.split_first() {
            Some(_) if before.is_some_and(|word| word == "--") => Ok(Wanted::Command { argv: words.clone() }),
            Some((first, rest)) if first == "-" => Ok(Wanted::Stdin { args: rest.to_vec() }),
            // The parser takes what it does not know for the first word of the program.
            Some((first, _)) if first.starts_with('-') => Err(UsageError::new(format!(
                "unknown option {first}: --help lists them (a file of that name is ./{first})"
            ))),
            Some((first, rest)) => Ok(Wanted::File {
                path: PathBuf::from(first),
                args: rest.to_vec(),
            }),
            None => Err(UsageError::new(
                "what is to be run? Give FILE.py, -c CODE, - for a program on standard input, or -- COMMAND",
            )),
        }
    }
}

/// A mistake on the command line: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(String);

impl UsageError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A job as the command line describes it, with the local files that it needs. Nothing was sent yet.
#[derive(Debug)]
pub(crate) struct LocalJob {
    /// The job; contents still empty.
    pub(crate) draft: JobDraft,
    /// The program's source.
    pub(crate) code: Option<LocalFile>,
    /// Standard input.
    pub(crate) stdin: Option<LocalFile>,
    /// Files to place, in the order of `draft.inputs`.
    pub(crate) inputs: Vec<(WorkspacePath, LocalFile)>,
}

impl JobOptions {
    /// Checks everything that can be checked without a daemon, and finds the local files.
    pub(crate) fn local_job(&self) -> anyhow::Result<LocalJob> {
        let line: Vec<OsString> = std::env::args_os().collect();
        let wanted = self.program.wanted(&line)?;
        let reads_program = matches!(wanted, Wanted::Stdin { .. });
        if reads_program && self.stdin.as_deref() == Some(Path::new("-")) {
            let text = "standard input cannot be both the program (-) and its input (--stdin -)";
            return Err(UsageError::new(text).into());
        }
        let (program, code) = plan_program(wanted)?;
        let mut draft = JobDraft::new(program);
        draft.env = self.environment()?;
        draft.outputs = self.outputs.clone();
        draft.limits = self.limits();
        draft.isolation = self.isolation.map(IsolationLevel::from);
        draft.backend = self.backend.clone().map(BackendName);
        draft.image = self.image.clone().map(ImageName);
        let stdin = self.stdin.as_deref().map(LocalFile::of_argument).transpose()?;
        let inputs = inputs::find(&self.inputs)?;
        Ok(LocalJob {
            draft,
            code,
            stdin,
            inputs,
        })
    }

    fn limits(&self) -> LimitsRequest {
        LimitsRequest {
            wall: self.timeout,
            cpu_time: self.cpu_time,
            memory: self.memory,
            processes: self.pids,
            workspace: self.workspace,
            output_kept: self.output_kept,
            output_produced: self.output_limit,
            ..LimitsRequest::default()
        }
    }

    fn environment(&self) -> anyhow::Result<Vec<EnvEntry>> {
        let plain = self.env.iter().map(|(name, value)| {
            Ok(EnvEntry {
                name: name.clone(),
                value: EnvValue::Plain(value.clone()),
            })
        });
        let secret = self.secret.iter().map(|name| match std::env::var(name) {
            Ok(value) => Ok(EnvEntry {
                name: name.clone(),
                value: EnvValue::Secret(Secret::new(value)),
            }),
            Err(_) => Err(UsageError::new(format!(
                "--secret {name}: there is no such variable in brig's environment"
            ))),
        });
        Ok(plain.chain(secret).collect::<Result<_, UsageError>>()?)
    }
}

/// The program of the draft, and where its source comes from.
fn plan_program(wanted: Wanted) -> anyhow::Result<(Program, Option<LocalFile>)> {
    let empty = || brig_core::spec::Content::Inline(brig_core::spec::Blob::default());
    let python = |file, args, source| {
        (
            Program::Python {
                code: empty(),
                file,
                args,
            },
            Some(source),
        )
    };
    Ok(match wanted {
        Wanted::Code { code, args } => python(None, args, LocalFile::Bytes(code.into_bytes())),
        Wanted::Stdin { args } => python(None, args, LocalFile::read_stdin()?),
        Wanted::File { path, args } => {
            let source = LocalFile::of_path(&path)?;
            python(Some(workspace_name(&path)?), args, source)
        }
        Wanted::Command { argv } => (Program::Command { argv }, None),
    })
}

/// The file keeps its own name in the workspace.
fn workspace_name(path: &Path) -> Result<WorkspacePath, UsageError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| UsageError::new(format!("{} has no name that is text", path.display())))?;
    WorkspacePath::parse(name).map_err(|wrong| UsageError::new(format!("the name {name:?} {wrong}")))
}

pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}

fn parse_pattern(text: &str) -> Result<OutputPattern, String> {
    // People write the place as the program sees it.
    let relative = text.strip_prefix("/workspace/").unwrap_or(text);
    OutputPattern::parse(relative).map_err(str::to_owned)
}

/// Labels of a job, from `--label NAME=VALUE`.
pub(crate) fn labels(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        job: JobOptions,
        #[arg(long)]
        json: bool,
    }

    fn line(words: &[&str]) -> Line {
        Line::try_parse_from([&["brig"], words].concat()).unwrap()
    }

    fn parse(words: &[&str]) -> Result<Wanted, UsageError> {
        let whole: Vec<OsString> = words.iter().map(OsString::from).collect();
        line(words).job.program.wanted(&whole)
    }

    fn wanted(words: &[&str]) -> Wanted {
        parse(words).unwrap()
    }

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_file_takes_every_word_after_it_as_its_own() {
        let words = ["--pids", "3", "a.py", "--json", "-c", "x", "--", "y", "--"];
        let expected = Wanted::File {
            path: "a.py".into(),
            args: strings(&["--json", "-c", "x", "--", "y", "--"]),
        };
        assert_eq!(wanted(&words), expected);
        assert!(!line(&words).json);
        assert_eq!(line(&words).job.pids, Some(3));
    }

    #[test]
    fn code_may_be_followed_by_options_and_arguments() {
        assert_eq!(
            wanted(&["-c", "print(1)"]),
            Wanted::Code {
                code: "print(1)".into(),
                args: vec![]
            }
        );
        let words = ["-c", "print(1)", "--json"];
        assert!(line(&words).json);
        assert_eq!(
            wanted(&["-c", "-1", "a", "b"]),
            Wanted::Code {
                code: "-1".into(),
                args: strings(&["a", "b"])
            }
        );
    }

    #[test]
    fn a_dash_is_a_program_on_standard_input() {
        assert_eq!(
            wanted(&["-", "a"]),
            Wanted::Stdin {
                args: strings(&["a"])
            }
        );
    }

    #[test]
    fn words_after_dashes_alone_are_a_command() {
        assert_eq!(
            wanted(&["--json", "--", "ls", "-l"]),
            Wanted::Command {
                argv: strings(&["ls", "-l"])
            }
        );
    }

    #[test]
    fn nothing_to_run_is_a_mistake() {
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn limits_reach_the_request() {
        let job = line(&[
            "--timeout",
            "5s",
            "--cpu-time",
            "2",
            "--memory",
            "1GiB",
            "--workspace",
            "64MiB",
            "-c",
            "1",
        ])
        .job;
        let limits = job.limits();
        assert_eq!(limits.wall, Some(Duration::from_secs(5)));
        assert_eq!(limits.cpu_time, Some(Duration::from_secs(2)));
        assert_eq!(limits.memory, Some(Bytes::gib(1)));
        assert_eq!(limits.workspace, Some(Bytes::mib(64)));
        assert_eq!(limits.tmp, None);
    }

    #[test]
    fn a_wrong_value_is_refused_before_anything_starts() {
        for bad in [
            vec!["--timeout", "soon", "a.py"],
            vec!["--memory", "lots", "a.py"],
            vec!["--pids", "0", "a.py"],
            vec!["--env", "=x", "a.py"],
            vec!["--out", "../x", "a.py"],
            vec!["--isolation", "none", "a.py"],
        ] {
            assert!(
                Line::try_parse_from([&["brig"], bad.as_slice()].concat()).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn an_output_may_be_named_as_the_program_sees_it() {
        assert_eq!(parse_pattern("/workspace/a/*.png").unwrap().as_str(), "a/*.png");
    }
}
