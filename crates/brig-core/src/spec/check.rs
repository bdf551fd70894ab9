//! What can be wrong with a draft, one function per part of it. Each adds what it finds, by its wire name.
//! A list that is too long is not looked at beyond its limit: a message of 4 MiB can have two million entries.

use super::{EnvEntry, EnvValue, JobDraft, LIST_MAX, Program, QUEUE_TIMEOUT_MAX, WorkspacePath};
use crate::limits::FieldViolation;

pub(super) fn program(program: &Program, bad: &mut Vec<FieldViolation>) {
    let (field, list, what) = match program {
        Program::Python { args, .. } => ("program.python.args", args, "an argument"),
        Program::Command { argv } => ("program.command.argv", argv, "a part of the command"),
    };
    if matches!(program, Program::Command { argv } if argv.first().is_none_or(String::is_empty)) {
        bad.push(FieldViolation::new(field, "must name a program"));
    }
    if list.len() > LIST_MAX {
        bad.push(FieldViolation::new(
            field,
            format!("must have at most {LIST_MAX} entries"),
        ));
    }
    if let Some(index) = list
        .iter()
        .position(|arg| arg.contains('\0') || arg.len() > 128 * 1024)
    {
        let text = format!("{what} must have no NUL byte and at most 128 KiB");
        bad.push(FieldViolation::new(format!("{field}[{index}]"), text));
    }
}

pub(super) fn env(env: &[EnvEntry], bad: &mut Vec<FieldViolation>) {
    if env.len() > LIST_MAX {
        bad.push(FieldViolation::new(
            "env",
            format!("must have at most {LIST_MAX} entries"),
        ));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, entry) in env.iter().enumerate().take(LIST_MAX) {
        let legal_first = entry
            .name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let legal = entry.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !legal_first || !legal || entry.name.len() > 256 {
            let text = "must be letters, digits and _, not starting with a digit";
            bad.push(FieldViolation::new(format!("env[{index}].name"), text));
        }
        if !seen.insert(&entry.name) {
            bad.push(FieldViolation::new(
                format!("env[{index}].name"),
                format!("{:?} is given twice", entry.name),
            ));
        }
        let value = match &entry.value {
            EnvValue::Plain(value) => value.as_str(),
            EnvValue::Secret(secret) => secret.reveal().unwrap_or_default(),
        };
        if value.contains('\0') || value.len() > 128 * 1024 {
            let text = "must have no NUL byte and at most 128 KiB";
            bad.push(FieldViolation::new(format!("env[{index}].value"), text));
        }
    }
}

pub(super) fn lists(draft: &JobDraft, bad: &mut Vec<FieldViolation>) {
    for (field, length) in [("inputs", draft.inputs.len()), ("outputs", draft.outputs.len())] {
        if length > LIST_MAX {
            bad.push(FieldViolation::new(
                field,
                format!("must have at most {LIST_MAX} entries"),
            ));
        }
    }
    input_paths(draft, bad);
    if draft.labels.len() > 64 {
        bad.push(FieldViolation::new("labels", "must have at most 64 entries"));
    }
    for (key, value) in draft.labels.iter().take(64) {
        let legal_key = !key.is_empty() && key.len() <= 63 && !key.chars().any(char::is_control);
        if !legal_key || value.len() > 255 || value.chars().any(char::is_control) {
            let text = "keys have 1 to 63 bytes, values at most 255, neither a control character";
            bad.push(FieldViolation::new(format!("labels[{key:?}]"), text));
        }
    }
}

/// No path twice, and none both a file and a directory.
fn input_paths(draft: &JobDraft, bad: &mut Vec<FieldViolation>) {
    let main = match &draft.program {
        Program::Python { file, .. } => file.as_ref().map(WorkspacePath::as_str),
        Program::Command { .. } => None,
    };
    let mut taken: std::collections::BTreeSet<&str> = main.into_iter().collect();
    for (index, input) in draft.inputs.iter().enumerate().take(LIST_MAX) {
        if !taken.insert(input.path.as_str()) {
            bad.push(FieldViolation::new(
                format!("inputs[{index}].path"),
                format!("{:?} is given twice", input.path.as_str()),
            ));
        }
    }
    for (index, input) in draft.inputs.iter().enumerate().take(LIST_MAX) {
        let path = input.path.as_str();
        let mut parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        if parents.any(|parent| taken.contains(parent)) {
            let text = "lies below a path that is itself given as a file";
            bad.push(FieldViolation::new(format!("inputs[{index}].path"), text));
        }
    }
}

pub(super) fn times(draft: &JobDraft, bad: &mut Vec<FieldViolation>) {
    if draft
        .queue_timeout
        .is_some_and(|t| t.is_zero() || t > QUEUE_TIMEOUT_MAX)
    {
        bad.push(FieldViolation::new(
            "queue_timeout",
            "must be more than zero and at most 24 hours",
        ));
    }
    if draft.retry.max_attempts == 0 || draft.retry.max_attempts > 10 {
        bad.push(FieldViolation::new("retry.max_attempts", "must be 1 to 10"));
    }
}
