//! What a caller wants to have run.

use super::field::{At, Checker, InvalidFields, each, id, known, required};
use super::time::{duration, duration_to_wire};
use crate::pb;
use brig_core::limits::LimitsRequest;
use brig_core::spec::{
    BackendName, Blob, Content, Durability, EnvEntry, EnvValue, FileMode, ImageName, InputFile,
    IsolationLevel, JobDraft, NetworkPolicy, OutputPattern, Program, RetryPolicy, Secret, WorkspacePath,
};

impl TryFrom<pb::JobSpec> for JobDraft {
    type Error = InvalidFields;

    /// Checks shapes only; [`JobDraft::validate`] checks values.
    fn try_from(wire: pb::JobSpec) -> Result<Self, InvalidFields> {
        let pb::JobSpec {
            program,
            stdin,
            env,
            inputs,
            outputs,
            limits,
            isolation,
            network,
            image,
            labels,
            queue_timeout,
            priority,
            retry,
            durability,
            backend,
        } = wire;
        let mut check = Checker::default();
        let program = check.take("program", required(program).and_then(Program::try_from));
        let stdin = check.take("stdin", stdin.map(Content::try_from).transpose());
        let env = check.take("env", each(env));
        let inputs = check.take("inputs", each(inputs));
        let outputs = check.take("outputs", output_patterns(outputs));
        let limits = check.take("limits", limits.map(LimitsRequest::try_from).transpose());
        let isolation = check.take("isolation", isolation_level(isolation));
        let network = check.take("network", network_policy(network));
        let queue_timeout = check.take("queue_timeout", queue_timeout.map(duration).transpose());
        let durability = check.take("durability", durability_of(durability));
        // Where something was wrong with the program, `finish` refuses before this stand-in is seen.
        let program = program.unwrap_or(Program::Command { argv: Vec::new() });
        check.finish(Self {
            program,
            stdin: stdin.flatten(),
            env: env.unwrap_or_default(),
            inputs: inputs.unwrap_or_default(),
            outputs: outputs.unwrap_or_default(),
            limits: limits.flatten().unwrap_or_default(),
            isolation: isolation.flatten(),
            network: network.unwrap_or_default(),
            backend: Some(backend).filter(|name| !name.is_empty()).map(BackendName),
            image: Some(image).filter(|name| !name.is_empty()).map(ImageName),
            labels,
            queue_timeout: queue_timeout.flatten(),
            priority,
            retry: retry.map_or_else(RetryPolicy::default, retry_policy),
            durability: durability.flatten(),
        })
    }
}

impl From<&JobDraft> for pb::JobSpec {
    fn from(draft: &JobDraft) -> Self {
        let JobDraft {
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
            retry: RetryPolicy { max_attempts },
            durability,
        } = draft;
        Self {
            program: Some(pb::Program::from(program)),
            stdin: stdin.as_ref().map(pb::Content::from),
            env: env.iter().map(pb::EnvEntry::from).collect(),
            inputs: inputs.iter().map(pb::InputFile::from).collect(),
            outputs: outputs
                .iter()
                .map(|pattern| pattern.as_str().to_owned())
                .collect(),
            limits: Some(pb::Limits::from(limits)),
            isolation: isolation
                .map_or(pb::IsolationLevel::Unspecified, isolation_to_wire)
                .into(),
            network: network_to_wire(*network).into(),
            image: image
                .as_ref()
                .map(|ImageName(name)| name.clone())
                .unwrap_or_default(),
            backend: backend
                .as_ref()
                .map(|BackendName(name)| name.clone())
                .unwrap_or_default(),
            labels: labels.clone(),
            queue_timeout: queue_timeout.map(duration_to_wire),
            priority: *priority,
            retry: Some(pb::RetryPolicy {
                max_attempts: Some(*max_attempts),
            }),
            durability: durability
                .map_or(pb::Durability::Unspecified, durability_to_wire)
                .into(),
        }
    }
}

impl TryFrom<pb::Program> for Program {
    type Error = InvalidFields;

    fn try_from(wire: pb::Program) -> Result<Self, InvalidFields> {
        let pb::Program { kind } = wire;
        match required(kind)? {
            pb::program::Kind::Python(pb::PythonProgram { code, file, args }) => {
                let mut check = Checker::default();
                let code = check.take("code", required(code).and_then(Content::try_from));
                let file = check.take("file", optional_path(&file));
                let code = code.unwrap_or(Content::Inline(Blob::default()));
                check
                    .finish(Self::Python {
                        code,
                        file: file.flatten(),
                        args,
                    })
                    .at("python")
            }
            pb::program::Kind::Command(pb::CommandProgram { argv }) => Ok(Self::Command { argv }),
        }
    }
}

impl From<&Program> for pb::Program {
    fn from(program: &Program) -> Self {
        let kind = match program {
            Program::Python { code, file, args } => pb::program::Kind::Python(pb::PythonProgram {
                code: Some(pb::Content::from(code)),
                file: file
                    .as_ref()
                    .map(|path| path.as_str().to_owned())
                    .unwrap_or_default(),
                args: args.clone(),
            }),
            Program::Command { argv } => {
                pb::program::Kind::Command(pb::CommandProgram { argv: argv.clone() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Content> for Content {
    type Error = InvalidFields;

    fn try_from(wire: pb::Content) -> Result<Self, InvalidFields> {
        let pb::Content { source } = wire;
        match required(source)? {
            pb::content::Source::Inline(bytes) => Ok(Self::Inline(Blob(bytes))),
            pb::content::Source::FileId(file) => id(&file).map(Self::Stored).at("file_id"),
        }
    }
}

impl From<&Content> for pb::Content {
    fn from(content: &Content) -> Self {
        let source = match content {
            Content::Inline(Blob(bytes)) => pb::content::Source::Inline(bytes.clone()),
            Content::Stored(file) => pb::content::Source::FileId(file.to_string()),
        };
        Self { source: Some(source) }
    }
}

impl TryFrom<pb::EnvEntry> for EnvEntry {
    type Error = InvalidFields;

    fn try_from(wire: pb::EnvEntry) -> Result<Self, InvalidFields> {
        let pb::EnvEntry { name, content } = wire;
        let value = match required(content).at("value")? {
            pb::env_entry::Content::Value(value) => EnvValue::Plain(value),
            pb::env_entry::Content::Secret(secret) => EnvValue::Secret(Secret::new(secret)),
        };
        Ok(Self { name, value })
    }
}

impl From<&EnvEntry> for pb::EnvEntry {
    fn from(entry: &EnvEntry) -> Self {
        let EnvEntry { name, value } = entry;
        let content = match value {
            EnvValue::Plain(value) => pb::env_entry::Content::Value(value.clone()),
            // Only a daemon that was restarted has secrets without a value, and it never sends drafts.
            EnvValue::Secret(secret) => {
                pb::env_entry::Content::Secret(secret.reveal().unwrap_or_default().to_owned())
            }
        };
        Self {
            name: name.clone(),
            content: Some(content),
        }
    }
}

impl TryFrom<pb::InputFile> for InputFile {
    type Error = InvalidFields;

    fn try_from(wire: pb::InputFile) -> Result<Self, InvalidFields> {
        let pb::InputFile { path, content, mode } = wire;
        Ok(Self {
            path: workspace_path(&path).at("path")?,
            content: required(content).and_then(Content::try_from).at("content")?,
            mode: file_mode(mode).at("mode")?,
        })
    }
}

impl From<&InputFile> for pb::InputFile {
    fn from(input: &InputFile) -> Self {
        let InputFile { path, content, mode } = input;
        Self {
            path: path.as_str().to_owned(),
            content: Some(pb::Content::from(content)),
            mode: file_mode_to_wire(*mode).into(),
        }
    }
}

fn output_patterns(list: Vec<String>) -> Result<Vec<OutputPattern>, InvalidFields> {
    let mut check = Checker::default();
    let patterns = list.iter().enumerate().filter_map(|(index, text)| {
        let pattern = OutputPattern::parse(text).map_err(|problem| InvalidFields::one("", problem));
        check.take(&format!("[{index}]"), pattern)
    });
    let patterns = patterns.collect();
    check.finish(patterns)
}

fn retry_policy(wire: pb::RetryPolicy) -> RetryPolicy {
    let pb::RetryPolicy { max_attempts } = wire;
    max_attempts.map_or_else(RetryPolicy::default, |max_attempts| RetryPolicy { max_attempts })
}

pub(super) fn workspace_path(text: &str) -> Result<WorkspacePath, InvalidFields> {
    WorkspacePath::parse(text).map_err(|problem| InvalidFields::one("", problem))
}

pub(super) fn optional_path(text: &str) -> Result<Option<WorkspacePath>, InvalidFields> {
    if text.is_empty() {
        Ok(None)
    } else {
        workspace_path(text).map(Some)
    }
}

pub(super) fn isolation_level(number: i32) -> Result<Option<IsolationLevel>, InvalidFields> {
    Ok(match known(number)? {
        pb::IsolationLevel::Unspecified => None,
        pb::IsolationLevel::Strict => Some(IsolationLevel::Strict),
        pb::IsolationLevel::Workstation => Some(IsolationLevel::Workstation),
    })
}

pub(super) fn isolation_to_wire(level: IsolationLevel) -> pb::IsolationLevel {
    match level {
        IsolationLevel::Strict => pb::IsolationLevel::Strict,
        IsolationLevel::Workstation => pb::IsolationLevel::Workstation,
    }
}

pub(super) fn network_policy(number: i32) -> Result<NetworkPolicy, InvalidFields> {
    Ok(match known(number)? {
        pb::NetworkPolicy::Unspecified | pb::NetworkPolicy::None => NetworkPolicy::None,
    })
}

pub(super) fn network_to_wire(policy: NetworkPolicy) -> pb::NetworkPolicy {
    match policy {
        NetworkPolicy::None => pb::NetworkPolicy::None,
    }
}

pub(super) fn durability_of(number: i32) -> Result<Option<Durability>, InvalidFields> {
    Ok(match known(number)? {
        pb::Durability::Unspecified => None,
        pb::Durability::Process => Some(Durability::Process),
        pb::Durability::PowerLoss => Some(Durability::PowerLoss),
    })
}

pub(super) fn durability_to_wire(durability: Durability) -> pb::Durability {
    match durability {
        Durability::Process => pb::Durability::Process,
        Durability::PowerLoss => pb::Durability::PowerLoss,
    }
}

pub(super) fn file_mode(number: i32) -> Result<FileMode, InvalidFields> {
    Ok(match known(number)? {
        pb::FileMode::Unspecified | pb::FileMode::Regular => FileMode::Regular,
        pb::FileMode::Executable => FileMode::Executable,
    })
}

pub(super) fn file_mode_to_wire(mode: FileMode) -> pb::FileMode {
    match mode {
        FileMode::Regular => pb::FileMode::Regular,
        FileMode::Executable => pb::FileMode::Executable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        #[test]
        fn a_draft_survives_the_wire(draft in samples::draft()) {
            let bytes = pb::JobSpec::from(&draft).encode_to_vec();
            let wire = pb::JobSpec::decode(bytes.as_slice()).unwrap();
            prop_assert_eq!(JobDraft::try_from(wire), Ok(draft));
        }

        #[test]
        fn no_bytes_from_outside_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(wire) = pb::JobSpec::decode(bytes.as_slice()) {
                let shaped = JobDraft::try_from(wire);
                prop_assert!(shaped.is_ok() || shaped.is_err_and(|InvalidFields(bad)| !bad.is_empty()));
            }
        }
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let wire = pb::JobSpec {
            program: Some(pb::Program {
                kind: Some(pb::program::Kind::Python(pb::PythonProgram {
                    code: None,
                    file: "../x".into(),
                    args: vec![],
                })),
            }),
            stdin: Some(pb::Content {
                source: Some(pb::content::Source::FileId("nonsense".into())),
            }),
            env: vec![pb::EnvEntry {
                name: "A".into(),
                content: None,
            }],
            inputs: vec![pb::InputFile {
                path: "/etc/passwd".into(),
                content: None,
                mode: 0,
            }],
            outputs: vec!["ok".into(), "/abs".into()],
            isolation: 99,
            network: -1,
            queue_timeout: Some(prost_types::Duration {
                seconds: -5,
                nanos: 0,
            }),
            durability: 7,
            ..pb::JobSpec::default()
        };
        let InvalidFields(bad) = JobDraft::try_from(wire).unwrap_err();
        let fields: Vec<&str> = bad.iter().map(|violation| violation.field.as_str()).collect();
        let expected = [
            "program.python.code",
            "program.python.file",
            "stdin.file_id",
            "env[0].value",
            "inputs[0].path",
            "outputs[1]",
            "isolation",
            "network",
            "queue_timeout",
            "durability",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_secret_is_not_shown_by_generated_code() {
        let entry = EnvEntry {
            name: "TOKEN".into(),
            value: EnvValue::Secret(Secret::new("hunter2".into())),
        };
        let mut draft = JobDraft::new(Program::Command {
            argv: vec!["true".into()],
        });
        draft.env.push(entry);
        let shown = format!("{:?}", pb::JobSpec::from(&draft));
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
}
