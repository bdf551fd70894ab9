//! Limits, asked for and resolved.

use super::field::{At, Checker, InvalidFields, required};
use super::time::{duration, duration_to_wire};
use crate::pb;
use brig_core::limits::{Bytes, Limits, LimitsRequest};

impl TryFrom<pb::Limits> for LimitsRequest {
    type Error = InvalidFields;

    fn try_from(wire: pb::Limits) -> Result<Self, InvalidFields> {
        let pb::Limits {
            wall_time,
            cpu_time,
            cpu_millis,
            memory_bytes,
            processes,
            workspace_bytes,
            workspace_files,
            tmp_bytes,
            tmp_files,
            shm_bytes,
            file_size_bytes,
            open_files,
            output_kept_bytes,
            output_produced_bytes,
        } = wire;
        let mut check = Checker::default();
        let wall = check.take("wall_time", wall_time.map(duration).transpose());
        let cpu = check.take("cpu_time", cpu_time.map(duration).transpose());
        check.finish(Self {
            wall: wall.flatten(),
            cpu_time: cpu.flatten(),
            cpu_millis,
            memory: memory_bytes.map(Bytes),
            processes,
            workspace: workspace_bytes.map(Bytes),
            workspace_files,
            tmp: tmp_bytes.map(Bytes),
            tmp_files,
            shm: shm_bytes.map(Bytes),
            file_size: file_size_bytes.map(Bytes),
            open_files,
            output_kept: output_kept_bytes.map(Bytes),
            output_produced: output_produced_bytes.map(Bytes),
        })
    }
}

impl From<&LimitsRequest> for pb::Limits {
    fn from(request: &LimitsRequest) -> Self {
        let LimitsRequest {
            wall,
            cpu_time,
            cpu_millis,
            memory,
            processes,
            workspace,
            workspace_files,
            tmp,
            tmp_files,
            shm,
            file_size,
            open_files,
            output_kept,
            output_produced,
        } = *request;
        let bytes = |size: Option<Bytes>| size.map(|Bytes(bytes)| bytes);
        Self {
            wall_time: wall.map(duration_to_wire),
            cpu_time: cpu_time.map(duration_to_wire),
            cpu_millis,
            memory_bytes: bytes(memory),
            processes,
            workspace_bytes: bytes(workspace),
            workspace_files,
            tmp_bytes: bytes(tmp),
            tmp_files,
            shm_bytes: bytes(shm),
            file_size_bytes: bytes(file_size),
            open_files,
            output_kept_bytes: bytes(output_kept),
            output_produced_bytes: bytes(output_produced),
        }
    }
}

/// A request for exactly these limits.
#[must_use]
pub fn request_for(limits: &Limits) -> LimitsRequest {
    let Limits {
        wall,
        cpu_time,
        cpu_millis,
        memory,
        processes,
        workspace,
        workspace_files,
        tmp,
        tmp_files,
        shm,
        file_size,
        open_files,
        output_kept,
        output_produced,
    } = *limits;
    LimitsRequest {
        wall: Some(wall),
        cpu_time: Some(cpu_time),
        cpu_millis: Some(cpu_millis),
        memory: Some(memory),
        processes: Some(processes),
        workspace: Some(workspace),
        workspace_files: Some(workspace_files),
        tmp: Some(tmp),
        tmp_files: Some(tmp_files),
        shm: Some(shm),
        file_size: Some(file_size),
        open_files: Some(open_files),
        output_kept: Some(output_kept),
        output_produced: Some(output_produced),
    }
}

impl From<&Limits> for pb::Limits {
    fn from(limits: &Limits) -> Self {
        Self::from(&request_for(limits))
    }
}

impl TryFrom<pb::Limits> for Limits {
    type Error = InvalidFields;

    fn try_from(wire: pb::Limits) -> Result<Self, InvalidFields> {
        let LimitsRequest {
            wall,
            cpu_time,
            cpu_millis,
            memory,
            processes,
            workspace,
            workspace_files,
            tmp,
            tmp_files,
            shm,
            file_size,
            open_files,
            output_kept,
            output_produced,
        } = LimitsRequest::try_from(wire)?;
        Ok(Self {
            wall: required(wall).at("wall_time")?,
            cpu_time: required(cpu_time).at("cpu_time")?,
            cpu_millis: required(cpu_millis).at("cpu_millis")?,
            memory: required(memory).at("memory_bytes")?,
            processes: required(processes).at("processes")?,
            workspace: required(workspace).at("workspace_bytes")?,
            workspace_files: required(workspace_files).at("workspace_files")?,
            tmp: required(tmp).at("tmp_bytes")?,
            tmp_files: required(tmp_files).at("tmp_files")?,
            shm: required(shm).at("shm_bytes")?,
            file_size: required(file_size).at("file_size_bytes")?,
            open_files: required(open_files).at("open_files")?,
            output_kept: required(output_kept).at("output_kept_bytes")?,
            output_produced: required(output_produced).at("output_produced_bytes")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_asked_for_survives_the_wire(request in samples::limits_request()) {
            prop_assert_eq!(LimitsRequest::try_from(pb::Limits::from(&request)), Ok(request));
        }

        #[test]
        fn resolved_limits_survive_the_wire(limits in samples::limits()) {
            prop_assert_eq!(Limits::try_from(pb::Limits::from(&limits)), Ok(limits));
        }
    }

    #[test]
    fn both_times_are_named_when_both_are_negative() {
        let negative = Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        });
        let wire = pb::Limits {
            wall_time: negative,
            cpu_time: negative,
            ..pb::Limits::default()
        };
        let InvalidFields(bad) = LimitsRequest::try_from(wire).unwrap_err();
        let fields: Vec<&str> = bad.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["wall_time", "cpu_time"]);
    }

    #[test]
    fn a_resolved_limit_that_is_missing_is_named() {
        let wire = pb::Limits {
            shm_bytes: None,
            ..pb::Limits::from(&brig_core::limits::LimitsPolicy::default().default)
        };
        assert_eq!(
            Limits::try_from(wire).unwrap_err(),
            InvalidFields::one("shm_bytes", "is required")
        );
    }
}
