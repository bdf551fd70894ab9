//! What a caller wants to have run: validated once, at the edge, and trusted as valid from then on.

use crate::id::FileId;
use crate::limits::{FieldViolation, Limits, LimitsPolicy, LimitsRequest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

mod check;
mod place;

pub use place::{BackendName, ImageName};

/// Largest inline part of a spec (code, stdin, one input), bytes: what fits into one message with its envelope.
pub const INLINE_MAX: usize = 4 * 1024 * 1024 - 64 * 1024;
/// Most arguments, environment entries, inputs or output patterns.
pub const LIST_MAX: usize = 1_024;

/// So many violations of one draft are named.
const NAMED_MAX: usize = 64;
/// Longest queue time-out.
pub const QUEUE_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Queue time-out where the caller names none.
pub const QUEUE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);

/// Bytes that are kept in JSON as text where they are UTF-8 and as hexadecimal otherwise.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BlobText", into = "BlobText")]
pub struct Blob(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BlobText {
    Text(String),
    Hex(String),
}

impl From<Blob> for BlobText {
    fn from(blob: Blob) -> Self {
        match String::from_utf8(blob.0) {
            Ok(text) => Self::Text(text),
            Err(not_text) => Self::Hex(not_text.as_bytes().iter().map(|b| format!("{b:02x}")).collect()),
        }
    }
}

impl From<BlobText> for Blob {
    fn from(text: BlobText) -> Self {
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
                .unwrap_or(0)
        };
        match text {
            BlobText::Text(text) => Self(text.into_bytes()),
            BlobText::Hex(hex) => Self(
                hex.as_bytes()
                    .chunks_exact(2)
                    .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
                    .collect(),
            ),
        }
    }
}

impl fmt::Debug for Blob {
    /// Length only: programs and inputs do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

/// Bytes that came with the request or were uploaded before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// In the request.
    Inline(Blob),
    /// Uploaded through `FileService`.
    Stored(FileId),
}

/// A relative path below `/workspace`: no `..`, no empty part, no backslash, no control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkspacePath(String);

impl WorkspacePath {
    /// Checks `text`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("must not be empty");
        }
        if text.len() > 1_024 {
            return Err("must be at most 1024 bytes");
        }
        if text.starts_with('/') {
            return Err("must be relative to /workspace");
        }
        if text.contains('\\') || text.chars().any(char::is_control) {
            return Err("must not contain a backslash or a control character");
        }
        let mut depth = 0;
        for part in text.split('/') {
            match part {
                "" | "." | ".." => return Err("must not contain an empty part, . or .."),
                _ if part.len() > 255 => return Err("each part must be at most 255 bytes"),
                _ => depth += 1,
            }
        }
        if depth > 32 {
            return Err("must be at most 32 directories deep");
        }
        Ok(Self(text.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// Python source, run by the image's interpreter through the runner.
    Python {
        /// The source.
        code: Content,
        /// Where to put it in the workspace; `None` behaves like `python3 -c`.
        file: Option<WorkspacePath>,
        /// `sys.argv[1:]`.
        args: Vec<String>,
    },
    /// A program of the image, without the runner.
    Command {
        /// Name or path, then arguments.
        argv: Vec<String>,
    },
}

/// A value that is never stored, logged, audited or digested: it lives in memory until its job has ended.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Option<String>);

impl Secret {
    /// Keeps `value`.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Some(value))
    }

    /// The value; `None` after a restart of the daemon, which forgot it on purpose.
    #[must_use]
    pub fn reveal(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Value of an environment entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvValue {
    /// Stored with the job.
    Plain(String),
    /// Not stored. Serialises as nothing.
    Secret(#[serde(skip)] Secret),
}

/// One environment entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvEntry {
    /// Name.
    pub name: String,
    /// Value.
    pub value: EnvValue,
}

/// A file to place before the program starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where.
    pub path: WorkspacePath,
    /// What.
    pub content: Content,
    /// Whether to set the executable bits.
    pub mode: FileMode,
}

/// Permission of a placed file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileMode {
    /// rw-r--r--
    #[default]
    Regular,
    /// rwxr-xr-x
    Executable,
}

/// A pattern of files to collect from `/workspace` afterwards: `*` and `?` within one part, `**` over parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutputPattern(String);

impl OutputPattern {
    /// Checks `text`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        WorkspacePath::parse(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How much isolation is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IsolationLevel {
    /// Every layer.
    Strict,
    /// The cgroup and the distinct uid may be missing.
    Workstation,
}

impl IsolationLevel {
    /// The word on the command line and in receipts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Workstation => "workstation",
        }
    }
}

/// Which network a job gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkPolicy {
    /// Loopback only.
    #[default]
    None,
}

/// What survives what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The record survives `kill -9` of any process.
    Process,
    /// The accepted and the final record also survive loss of power.
    PowerLoss,
}

/// What to do when an attempt is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct RetryPolicy {
    /// How often the program may be started, at least 1. The default is 1: running model-written code twice
    /// is the caller's decision.
    pub max_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 1 }
    }
}

/// A request as it arrived: shaped, but not yet checked. Serialises (without secrets) for its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobDraft {
    /// What runs.
    pub program: Program,
    /// Standard input; `None` is empty.
    pub stdin: Option<Content>,
    /// Environment entries beside the documented ones.
    pub env: Vec<EnvEntry>,
    /// Files to place.
    pub inputs: Vec<InputFile>,
    /// Files to collect.
    pub outputs: Vec<OutputPattern>,
    /// Limits.
    pub limits: LimitsRequest,
    /// Level; `None` is the daemon's default.
    pub isolation: Option<IsolationLevel>,
    /// Network.
    pub network: NetworkPolicy,
    /// Backend; `None` is the daemon's default. Left out where it is not set, so that a draft that names none has
    /// the digest that it had before there were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendName>,
    /// Image; `None` is the backend's default.
    pub image: Option<ImageName>,
    /// Labels for filters.
    pub labels: BTreeMap<String, String>,
    /// `None` is ten minutes.
    pub queue_timeout: Option<Duration>,
    /// Higher runs earlier within the tenant.
    pub priority: i32,
    /// What to do when an attempt is lost.
    pub retry: RetryPolicy,
    /// What the record survives; `None` is the method's default.
    pub durability: Option<Durability>,
}

/// A checked request, with every default filled in. Serialised as the job's record; secrets are not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// See [`JobDraft::program`].
    pub program: Program,
    /// See [`JobDraft::stdin`].
    pub stdin: Option<Content>,
    /// See [`JobDraft::env`].
    pub env: Vec<EnvEntry>,
    /// See [`JobDraft::inputs`].
    pub inputs: Vec<InputFile>,
    /// See [`JobDraft::outputs`].
    pub outputs: Vec<OutputPattern>,
    /// Resolved limits.
    pub limits: Limits,
    /// Resolved level.
    pub isolation: IsolationLevel,
    /// See [`JobDraft::network`].
    pub network: NetworkPolicy,
    /// Resolved backend. Records of the time before there were several ran in the jail.
    #[serde(default = "BackendName::jail")]
    pub backend: BackendName,
    /// Resolved image.
    pub image: ImageName,
    /// See [`JobDraft::labels`].
    pub labels: BTreeMap<String, String>,
    /// Resolved queue time-out.
    pub queue_timeout: Duration,
    /// See [`JobDraft::priority`].
    pub priority: i32,
    /// See [`JobDraft::retry`].
    pub retry: RetryPolicy,
    /// Resolved durability.
    pub durability: Durability,
}

/// What a daemon fills in where the caller said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecDefaults {
    /// Limits.
    pub limits: LimitsPolicy,
    /// Level.
    pub isolation: IsolationLevel,
    /// Durability of this method.
    pub durability: Durability,
}

impl JobDraft {
    /// A draft that runs `program` with every default.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self {
            program,
            stdin: None,
            env: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            limits: LimitsRequest::default(),
            isolation: None,
            network: NetworkPolicy::None,
            backend: None,
            image: None,
            labels: BTreeMap::new(),
            queue_timeout: None,
            priority: 0,
            retry: RetryPolicy::default(),
            durability: None,
        }
    }

    /// Checks everything and fills in defaults.
    ///
    /// # Errors
    /// Every violated field, by its wire name.
    pub fn validate(self, defaults: &SpecDefaults) -> Result<JobSpec, Vec<FieldViolation>> {
        let mut bad = Vec::new();
        check::program(&self.program, &mut bad);
        check::env(&self.env, &mut bad);
        check::lists(&self, &mut bad);
        check::times(&self, &mut bad);
        let limits = match self.limits.resolve(&defaults.limits) {
            Ok(limits) => limits,
            Err(more) => {
                bad.extend(more);
                defaults.limits.default
            }
        };
        if !bad.is_empty() {
            bad.truncate(NAMED_MAX);
            return Err(bad);
        }
        Ok(JobSpec {
            program: self.program,
            stdin: self.stdin,
            env: self.env,
            inputs: self.inputs,
            outputs: self.outputs,
            limits,
            isolation: self.isolation.unwrap_or(defaults.isolation),
            network: self.network,
            backend: self.backend.unwrap_or_else(BackendName::jail),
            image: self.image.unwrap_or_else(ImageName::host),
            labels: self.labels,
            queue_timeout: self.queue_timeout.unwrap_or(QUEUE_TIMEOUT_DEFAULT),
            priority: self.priority,
            retry: self.retry,
            durability: self.durability.unwrap_or(defaults.durability),
        })
    }
}

impl JobSpec {
    /// Values of secret entries, for redaction.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.env.iter().filter_map(|entry| match &entry.value {
            EnvValue::Secret(secret) => secret.reveal(),
            EnvValue::Plain(_) => None,
        })
    }

    /// Whether a secret was forgotten (the daemon was restarted between accept and start).
    #[must_use]
    pub fn has_lost_secrets(&self) -> bool {
        self.env
            .iter()
            .any(|entry| matches!(&entry.value, EnvValue::Secret(s) if s.reveal().is_none()))
    }

    /// Files of the file service that this job refers to.
    pub fn stored_files(&self) -> impl Iterator<Item = FileId> {
        let code = match &self.program {
            Program::Python { code, .. } => Some(code),
            Program::Command { .. } => None,
        };
        let contents = code
            .into_iter()
            .chain(&self.stdin)
            .chain(self.inputs.iter().map(|input| &input.content));
        contents.filter_map(|content| match content {
            Content::Stored(id) => Some(*id),
            Content::Inline(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> SpecDefaults {
        SpecDefaults {
            limits: LimitsPolicy::default(),
            isolation: IsolationLevel::Strict,
            durability: Durability::Process,
        }
    }

    fn python(code: &str) -> JobDraft {
        let code = Content::Inline(Blob(code.as_bytes().to_vec()));
        JobDraft::new(Program::Python {
            code,
            file: None,
            args: vec![],
        })
    }

    fn fields(draft: JobDraft) -> Vec<String> {
        draft
            .validate(&defaults())
            .unwrap_err()
            .into_iter()
            .map(|v| v.field)
            .collect()
    }

    #[test]
    fn a_path_cannot_leave_the_workspace() {
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "./a",
            "a\\b",
            "a\0b",
            "a\nb",
            &"x/".repeat(40),
        ] {
            assert!(WorkspacePath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(WorkspacePath::parse(&"x".repeat(256)).is_err());
        for good in ["a", "a/b.txt", ".hidden", "a b", "..."] {
            assert!(WorkspacePath::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_secret_is_neither_serialised_nor_shown() {
        let mut draft = python("1");
        let value = EnvValue::Secret(Secret::new("hunter2".into()));
        draft.env.push(EnvEntry {
            name: "TOKEN".into(),
            value,
        });
        let spec = draft.validate(&defaults()).unwrap();
        let json = serde_json::to_string(&spec).unwrap();
        assert!(!json.contains("hunter2") && !format!("{spec:?}").contains("hunter2"));
        assert!(!spec.has_lost_secrets());
        let back: JobSpec = serde_json::from_str(&json).unwrap();
        assert!(back.has_lost_secrets());
    }

    #[test]
    fn a_record_from_before_there_were_several_backends_ran_in_the_jail() {
        let spec = python("1").validate(&defaults()).unwrap();
        let mut record = serde_json::to_value(&spec).unwrap();
        assert_eq!(record["backend"], "jail");
        record.as_object_mut().unwrap().remove("backend");
        assert_eq!(serde_json::from_value::<JobSpec>(record).unwrap(), spec);
    }

    #[test]
    fn a_draft_that_names_no_backend_is_the_text_that_it_always_was() {
        let mut draft = python("1");
        assert!(!serde_json::to_string(&draft).unwrap().contains("backend"));
        draft.backend = Some(BackendName::docker());
        assert!(serde_json::to_string(&draft).unwrap().contains("docker"));
    }

    #[test]
    fn bytes_that_are_not_text_survive_json() {
        for bytes in [vec![], vec![0, 255, 128], b"plain".to_vec()] {
            let json = serde_json::to_string(&Blob(bytes.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Blob>(&json).unwrap().0, bytes);
        }
    }

    #[test]
    fn an_input_given_twice_or_below_a_file_is_named() {
        let mut draft = python("1");
        let input = |path: &str| InputFile {
            path: WorkspacePath::parse(path).unwrap(),
            content: Content::Inline(Blob::default()),
            mode: FileMode::Regular,
        };
        draft.inputs = vec![input("a"), input("a"), input("a/b")];
        assert_eq!(fields(draft), ["inputs[1].path", "inputs[2].path"]);
    }

    #[test]
    fn a_command_must_name_a_program() {
        assert_eq!(
            fields(JobDraft::new(Program::Command { argv: vec![] })),
            ["program.command.argv"]
        );
        assert_eq!(
            fields(JobDraft::new(Program::Command {
                argv: vec!["a".into(), "b\0".into()]
            })),
            ["program.command.argv[1]"]
        );
    }
}
