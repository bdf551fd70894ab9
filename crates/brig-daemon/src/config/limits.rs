//! The sections `[limits.default]` and `[limits.ceiling]`.

use super::ConfigError;
use super::quantity::{Size, Span};
use brig_core::limits::{Limits, LimitsPolicy, LimitsRequest};
use serde::Deserialize;

/// One section; what is not named keeps its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    wall_time: Option<Span>,
    cpu_time: Option<Span>,
    cpu_millis: Option<u32>,
    memory: Option<Size>,
    processes: Option<u32>,
    workspace: Option<Size>,
    workspace_files: Option<u32>,
    tmp: Option<Size>,
    tmp_files: Option<u32>,
    shm: Option<Size>,
    file_size: Option<Size>,
    open_files: Option<u32>,
    output_kept: Option<Size>,
    output_produced: Option<Size>,
}

impl LimitsSection {
    pub(super) fn apply(self, limits: &mut Limits) {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut limits.wall, self.wall_time.map(|span| span.0));
        set(&mut limits.cpu_time, self.cpu_time.map(|span| span.0));
        set(&mut limits.cpu_millis, self.cpu_millis);
        set(&mut limits.memory, self.memory.map(|size| size.0));
        set(&mut limits.processes, self.processes);
        set(&mut limits.workspace, self.workspace.map(|size| size.0));
        set(&mut limits.workspace_files, self.workspace_files);
        set(&mut limits.tmp, self.tmp.map(|size| size.0));
        set(&mut limits.tmp_files, self.tmp_files);
        set(&mut limits.shm, self.shm.map(|size| size.0));
        set(&mut limits.file_size, self.file_size.map(|size| size.0));
        set(&mut limits.open_files, self.open_files);
        set(&mut limits.output_kept, self.output_kept.map(|size| size.0));
        set(
            &mut limits.output_produced,
            self.output_produced.map(|size| size.0),
        );
    }
}

/// The defaults must be something that a caller could have asked for.
pub(super) fn check(policy: &LimitsPolicy) -> Result<(), ConfigError> {
    let d = &policy.default;
    let asked = LimitsRequest {
        wall: Some(d.wall),
        cpu_time: Some(d.cpu_time),
        cpu_millis: Some(d.cpu_millis),
        memory: Some(d.memory),
        processes: Some(d.processes),
        workspace: Some(d.workspace),
        workspace_files: Some(d.workspace_files),
        tmp: Some(d.tmp),
        tmp_files: Some(d.tmp_files),
        shm: Some(d.shm),
        file_size: Some(d.file_size),
        open_files: Some(d.open_files),
        output_kept: Some(d.output_kept),
        output_produced: Some(d.output_produced),
    };
    match asked.resolve(policy) {
        Ok(_) => Ok(()),
        Err(bad) => {
            let first = bad.into_iter().next();
            let (field, problem) = first.map_or_else(
                || ("limits".to_owned(), "do not fit together".to_owned()),
                |violation| (violation.field, violation.description),
            );
            let field = field.strip_prefix("limits.").unwrap_or(&field);
            let field = field.strip_suffix("_bytes").unwrap_or(field);
            Err(ConfigError::field(format!("limits.default.{field}"), problem))
        }
    }
}
