//! The record of a job as the wire carries it: everything that a caller may know. `fit` bounds it so that it always
//! fits into one message.

mod fit;

use brig_core::id::{FileId, JobId};
use brig_core::job::JobState;
use brig_core::limits::Limits;
use brig_core::spec::{
    BackendName, Durability, FileMode, ImageName, IsolationLevel, NetworkPolicy, OutputPattern, RetryPolicy,
    WorkspacePath,
};
use brig_core::store::JobResult;
use brig_core::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// A state without what only the daemon needs to know about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// Waiting for its start.
    Queued,
    /// It runs.
    Running,
    /// Asked to stop.
    Cancelling,
    /// The program ran.
    Finished,
    /// Brig could not run it.
    Failed,
    /// Cancelled.
    Cancelled,
}

impl StateKind {
    /// Every one, in the order of a job's life.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Cancelling,
        Self::Finished,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word in SQL, JSON and metrics, as [`JobState::word`] says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing can change any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }
}

impl From<&JobState> for StateKind {
    fn from(state: &JobState) -> Self {
        match state {
            JobState::Queued { .. } => Self::Queued,
            JobState::Running(_) => Self::Running,
            JobState::Cancelling(_) => Self::Cancelling,
            JobState::Finished => Self::Finished,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

impl std::fmt::Display for StateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// The record of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Id.
    pub id: JobId,
    /// Where it stands.
    pub state: StateKind,
    /// Who submitted it.
    pub created_by: String,
    /// When it was accepted.
    pub created: Timestamp,
    /// When the latest attempt started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Attempts started so far.
    pub attempts: u32,
    /// Number of its latest event.
    pub last_seq: u64,
    /// What was asked for.
    pub spec: RecordedSpec,
    /// Its result, once terminal.
    pub result: Option<JobResult>,
}

/// A resolved spec without contents and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedSpec {
    /// What runs.
    pub program: RecordedProgram,
    /// Standard input.
    pub stdin: Option<RecordedContent>,
    /// Environment entries.
    pub env: Vec<RecordedEnvEntry>,
    /// Placed files.
    pub inputs: Vec<RecordedInput>,
    /// Collected patterns.
    pub outputs: Vec<OutputPattern>,
    /// Limits.
    pub limits: Limits,
    /// Level.
    pub isolation: IsolationLevel,
    /// Network.
    pub network: NetworkPolicy,
    /// Backend.
    pub backend: BackendName,
    /// Image.
    pub image: ImageName,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Queue time-out.
    pub queue_timeout: Duration,
    /// Priority.
    pub priority: i32,
    /// What to do when an attempt is lost.
    pub retry: RetryPolicy,
    /// What the record survives.
    pub durability: Durability,
    /// How many entries of the lists were left out.
    pub omitted: u32,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedProgram {
    /// Python source.
    Python {
        /// Its size or place.
        code: RecordedContent,
        /// Where it is put in the workspace.
        file: Option<WorkspacePath>,
        /// `sys.argv[1:]`.
        args: Vec<String>,
    },
    /// A program of the image.
    Command {
        /// Name or path, then arguments.
        argv: Vec<String>,
    },
}

/// Where content came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordedContent {
    /// With the request: so many bytes.
    Inline(u64),
    /// Uploaded before.
    Stored(FileId),
}

/// An environment entry without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEnvEntry {
    /// Name.
    pub name: String,
    /// Whether its value is a secret.
    pub secret: bool,
}

/// A placed file without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedInput {
    /// Where.
    pub path: WorkspacePath,
    /// Its size or place.
    pub content: RecordedContent,
    /// Permission.
    pub mode: FileMode,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb;

    #[test]
    fn state_words_are_the_same_everywhere() {
        for state in StateKind::ALL {
            assert_eq!(StateKind::from_word(state.word()), Some(state));
            let name = format!("JOB_STATE_{}", state.word().to_uppercase());
            assert_eq!(pb::JobState::from(state).as_str_name(), name);
        }
    }
}
