//! Limits of a job: what the caller may ask for, what it gets, and what no caller can exceed.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `n` KiB.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }

    /// `n` MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }

    /// `n` GiB.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n * 1024 * 1024 * 1024)
    }
}

/// Text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a size: {text:?} (write it like 512MiB, 64KiB, 1GiB or a number of bytes)")]
pub struct InvalidSize {
    text: String,
}

impl FromStr for Bytes {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let invalid = || InvalidSize {
            text: text.to_owned(),
        };
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "kb" => 1_000,
            "m" | "mib" => 1 << 20,
            "mb" => 1_000_000,
            "g" | "gib" => 1 << 30,
            "gb" => 1_000_000_000,
            _ => return Err(invalid()),
        };
        let number: u64 = digits.trim().parse().map_err(|_not_a_number| invalid())?;
        number.checked_mul(unit).map(Bytes).ok_or_else(invalid)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units
            .into_iter()
            .find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit))
        {
            Some((unit, name)) => write!(f, "{} {name}", self.0 / unit),
            None if self.0 == 1 => write!(f, "1 byte"),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// What tmpfs may not use of the memory limit: room for the interpreter.
pub const MEMORY_BESIDE_TMPFS: Bytes = Bytes::mib(64);

/// Every limit of one job, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall-clock time, monotonic.
    pub wall: Duration,
    /// CPU time of all processes together.
    pub cpu_time: Duration,
    /// CPU rate, thousandths of one CPU.
    pub cpu_millis: u32,
    /// Memory, including tmpfs and page tables.
    pub memory: Bytes,
    /// Processes and threads.
    pub processes: u32,
    /// `/workspace`.
    pub workspace: Bytes,
    /// Files and directories in `/workspace`.
    pub workspace_files: u32,
    /// `/tmp`.
    pub tmp: Bytes,
    /// Files and directories in `/tmp`.
    pub tmp_files: u32,
    /// `/dev/shm`.
    pub shm: Bytes,
    /// Largest single file.
    pub file_size: Bytes,
    /// Open descriptors per process.
    pub open_files: u32,
    /// Bytes kept of each output stream (head and tail).
    pub output_kept: Bytes,
    /// Bytes produced on both streams together before the job is ended.
    pub output_produced: Bytes,
}

/// What the caller asked for; `None` means the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsRequest {
    /// See [`Limits::wall`].
    pub wall: Option<Duration>,
    /// See [`Limits::cpu_time`].
    pub cpu_time: Option<Duration>,
    /// See [`Limits::cpu_millis`].
    pub cpu_millis: Option<u32>,
    /// See [`Limits::memory`].
    pub memory: Option<Bytes>,
    /// See [`Limits::processes`].
    pub processes: Option<u32>,
    /// See [`Limits::workspace`].
    pub workspace: Option<Bytes>,
    /// See [`Limits::workspace_files`].
    pub workspace_files: Option<u32>,
    /// See [`Limits::tmp`].
    pub tmp: Option<Bytes>,
    /// See [`Limits::tmp_files`].
    pub tmp_files: Option<u32>,
    /// See [`Limits::shm`].
    pub shm: Option<Bytes>,
    /// See [`Limits::file_size`].
    pub file_size: Option<Bytes>,
    /// See [`Limits::open_files`].
    pub open_files: Option<u32>,
    /// See [`Limits::output_kept`].
    pub output_kept: Option<Bytes>,
    /// See [`Limits::output_produced`].
    pub output_produced: Option<Bytes>,
}

/// The most and the defaults that a daemon gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsPolicy {
    /// Where the caller said nothing.
    pub default: Limits,
    /// What no caller can exceed.
    pub ceiling: Limits,
}

impl LimitsPolicy {
    /// The policy of jobs on an image: its limits take the place of the defaults, and no caller exceeds more than before.
    #[must_use]
    pub fn on_image(&self, image: &LimitsRequest) -> LimitsPolicy {
        let d = &self.default;
        let default = Limits {
            wall: image.wall.unwrap_or(d.wall),
            cpu_time: image.cpu_time.unwrap_or(d.cpu_time),
            cpu_millis: image.cpu_millis.unwrap_or(d.cpu_millis),
            memory: image.memory.unwrap_or(d.memory),
            processes: image.processes.unwrap_or(d.processes),
            workspace: image.workspace.unwrap_or(d.workspace),
            workspace_files: image.workspace_files.unwrap_or(d.workspace_files),
            tmp: image.tmp.unwrap_or(d.tmp),
            tmp_files: image.tmp_files.unwrap_or(d.tmp_files),
            shm: image.shm.unwrap_or(d.shm),
            file_size: image.file_size.unwrap_or(d.file_size),
            open_files: image.open_files.unwrap_or(d.open_files),
            output_kept: image.output_kept.unwrap_or(d.output_kept),
            output_produced: image.output_produced.unwrap_or(d.output_produced),
        };
        LimitsPolicy {
            default,
            ceiling: self.ceiling,
        }
    }
}

impl Default for LimitsPolicy {
    /// The table of defaults of the design.
    fn default() -> Self {
        let default = Limits {
            wall: Duration::from_secs(60),
            cpu_time: Duration::from_secs(60),
            cpu_millis: 1_000,
            memory: Bytes::mib(512),
            processes: 64,
            workspace: Bytes::mib(256),
            workspace_files: 16_384,
            tmp: Bytes::mib(64),
            tmp_files: 4_096,
            shm: Bytes::mib(64),
            file_size: Bytes::mib(256),
            open_files: 1_024,
            output_kept: Bytes::mib(1),
            output_produced: Bytes::mib(64),
        };
        let ceiling = Limits {
            wall: Duration::from_secs(300),
            cpu_time: Duration::from_secs(300),
            cpu_millis: 64_000,
            memory: Bytes::gib(8),
            processes: 512,
            workspace: Bytes::gib(4),
            workspace_files: 262_144,
            tmp: Bytes::gib(2),
            tmp_files: 65_536,
            shm: Bytes::gib(2),
            file_size: Bytes::gib(4),
            open_files: 4_096,
            output_kept: Bytes::mib(16),
            output_produced: Bytes::gib(1),
        };
        Self { default, ceiling }
    }
}

/// One thing that is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, as on the wire: `spec.limits.memory_bytes`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

impl FieldViolation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }
}

impl LimitsRequest {
    /// Fills in defaults, refuses what is zero or above the ceiling, and makes tmpfs fit into memory: sizes that
    /// the caller did not set shrink, sizes that it set are never changed silently.
    ///
    /// # Errors
    /// Every violated field, by its wire name.
    pub fn resolve(&self, policy: &LimitsPolicy) -> Result<Limits, Vec<FieldViolation>> {
        let (d, c) = (&policy.default, &policy.ceiling);
        let mut p = Picker { bad: Vec::new() };
        let mut limits = Limits {
            wall: p.of("wall_time", self.wall, d.wall, c.wall),
            cpu_time: p.of("cpu_time", self.cpu_time, d.cpu_time, c.cpu_time),
            cpu_millis: p.of("cpu_millis", self.cpu_millis, d.cpu_millis, c.cpu_millis),
            memory: p.of("memory_bytes", self.memory, d.memory, c.memory),
            processes: p.of("processes", self.processes, d.processes, c.processes),
            workspace: p.of("workspace_bytes", self.workspace, d.workspace, c.workspace),
            workspace_files: p.of(
                "workspace_files",
                self.workspace_files,
                d.workspace_files,
                c.workspace_files,
            ),
            tmp: p.of("tmp_bytes", self.tmp, d.tmp, c.tmp),
            tmp_files: p.of("tmp_files", self.tmp_files, d.tmp_files, c.tmp_files),
            shm: p.of("shm_bytes", self.shm, d.shm, c.shm),
            file_size: p.of("file_size_bytes", self.file_size, d.file_size, c.file_size),
            open_files: p.of("open_files", self.open_files, d.open_files, c.open_files),
            output_kept: p.of(
                "output_kept_bytes",
                self.output_kept,
                d.output_kept,
                c.output_kept,
            ),
            output_produced: p.of(
                "output_produced_bytes",
                self.output_produced,
                d.output_produced,
                c.output_produced,
            ),
        };
        let mut bad = p.bad;
        if bad.is_empty() {
            self.fit_tmpfs(&mut limits, &mut bad);
        }
        if bad.is_empty() { Ok(limits) } else { Err(bad) }
    }

    /// tmpfs is memory that cannot be reclaimed: workspace + tmp + shm + 64 MiB ≤ memory.
    fn fit_tmpfs(&self, limits: &mut Limits, bad: &mut Vec<FieldViolation>) {
        let available = limits.memory.0.saturating_sub(MEMORY_BESIDE_TMPFS.0);
        let mut parts = [
            ("workspace_bytes", self.workspace.is_some(), limits.workspace.0),
            ("tmp_bytes", self.tmp.is_some(), limits.tmp.0),
            ("shm_bytes", self.shm.is_some(), limits.shm.0),
        ];
        let wanted: u64 = parts.iter().map(|(_, _, size)| size).sum();
        if wanted > available {
            let fixed: u64 = parts
                .iter()
                .filter(|(_, set, _)| *set)
                .map(|(_, _, size)| size)
                .sum();
            let free: u64 = wanted - fixed;
            let room = available.saturating_sub(fixed);
            // Shrink in proportion, in whole pages, but a tmpfs of no page cannot be used.
            let shrink = |size: u64| {
                let share = u128::from(size) * u128::from(room) / u128::from(free.max(1));
                u64::try_from(share).unwrap_or(u64::MAX) & !4095
            };
            for part in parts.iter_mut().filter(|(_, set, _)| !set) {
                part.2 = shrink(part.2);
            }
            if fixed > available || parts.iter().any(|(_, _, size)| *size == 0) {
                let description = format!(
                    "workspace, tmp and shm live in memory: together with {MEMORY_BESIDE_TMPFS} for the program \
                     they must fit into the memory limit, which is {}; lower them or raise it",
                    limits.memory
                );
                let named = parts.iter().filter(|(_, set, _)| *set).map(|(name, _, _)| *name);
                bad.extend(
                    named
                        .chain(["memory_bytes"])
                        .map(|name| FieldViolation::new(format!("limits.{name}"), description.clone())),
                );
            }
        }
        limits.workspace = Bytes(parts[0].2);
        limits.tmp = Bytes(parts[1].2);
        limits.shm = Bytes(parts[2].2);
        if self.file_size.is_none() {
            limits.file_size = limits.file_size.min(limits.workspace.max(limits.tmp));
        }
    }
}

/// A quantity that can be a limit.
trait Quantity: Copy + PartialOrd {
    fn is_zero(self) -> bool;
    fn words(self) -> String;
}

impl Quantity for Duration {
    fn is_zero(self) -> bool {
        Duration::is_zero(&self)
    }
    fn words(self) -> String {
        format!("{} s", self.as_secs_f64())
    }
}

impl Quantity for Bytes {
    fn is_zero(self) -> bool {
        self.0 == 0
    }
    fn words(self) -> String {
        self.to_string()
    }
}

impl Quantity for u32 {
    fn is_zero(self) -> bool {
        self == 0
    }
    fn words(self) -> String {
        self.to_string()
    }
}

/// Takes what was asked for, or the default, and notes what is wrong.
struct Picker {
    bad: Vec<FieldViolation>,
}

impl Picker {
    fn of<Q: Quantity>(&mut self, name: &str, asked: Option<Q>, default: Q, most: Q) -> Q {
        let default = if default > most { most } else { default };
        let problem = match asked {
            None => return default,
            Some(value) if value.is_zero() => "must be greater than zero".to_owned(),
            Some(value) if value > most => {
                format!(
                    "{} is above the most that this daemon allows, {}",
                    value.words(),
                    most.words()
                )
            }
            Some(value) => return value,
        };
        self.bad
            .push(FieldViolation::new(format!("limits.{name}"), problem));
        default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_sets_what_the_caller_left_open_and_never_more_than_the_ceiling() {
        let policy = LimitsPolicy::default();
        let image = LimitsRequest {
            memory: Some(Bytes::gib(1)),
            processes: Some(100_000),
            ..LimitsRequest::default()
        };
        let on_image = policy.on_image(&image);
        let open = LimitsRequest::default().resolve(&on_image).unwrap();
        assert_eq!(open.memory, Bytes::gib(1));
        assert_eq!(open.processes, policy.ceiling.processes);
        assert_eq!(open.shm, policy.default.shm);
        let asked = LimitsRequest {
            memory: Some(Bytes::mib(300)),
            ..LimitsRequest::default()
        };
        // Sizes that the caller left open shrink to fit.
        let asked = asked.resolve(&on_image).unwrap();
        assert_eq!(asked.memory, Bytes::mib(300));
        assert!(asked.workspace.0 + asked.tmp.0 + asked.shm.0 <= Bytes::mib(300 - 64).0);
    }

    #[test]
    fn defaults_satisfy_their_own_rule() {
        let limits = LimitsRequest::default()
            .resolve(&LimitsPolicy::default())
            .unwrap();
        assert_eq!(limits.memory, Bytes::mib(512));
        assert_eq!(limits.workspace, Bytes::mib(256));
        assert_eq!(limits.tmp, Bytes::mib(64));
    }

    #[test]
    fn sizes_that_the_caller_did_not_set_shrink_to_fit() {
        let request = LimitsRequest {
            memory: Some(Bytes::mib(128)),
            ..LimitsRequest::default()
        };
        let limits = request.resolve(&LimitsPolicy::default()).unwrap();
        assert!(limits.workspace.0 + limits.tmp.0 + limits.shm.0 <= Bytes::mib(64).0);
        assert!(limits.tmp.0 > 0);
    }

    #[test]
    fn a_size_that_the_caller_set_is_refused_rather_than_shrunk() {
        let request = LimitsRequest {
            memory: Some(Bytes::mib(128)),
            workspace: Some(Bytes::mib(256)),
            ..LimitsRequest::default()
        };
        let bad = request.resolve(&LimitsPolicy::default()).unwrap_err();
        let fields: Vec<&str> = bad.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["limits.workspace_bytes", "limits.memory_bytes"]);
    }

    #[test]
    fn zero_and_above_the_ceiling_name_their_fields() {
        let request = LimitsRequest {
            wall: Some(Duration::ZERO),
            processes: Some(100_000),
            ..LimitsRequest::default()
        };
        let bad = request.resolve(&LimitsPolicy::default()).unwrap_err();
        let fields: Vec<&str> = bad.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["limits.wall_time", "limits.processes"]);
    }

    #[test]
    fn sizes_are_read_and_shown_with_units() {
        assert_eq!("512MiB".parse(), Ok(Bytes::mib(512)));
        assert_eq!("1G".parse(), Ok(Bytes::gib(1)));
        assert_eq!("10".parse(), Ok(Bytes(10)));
        assert!("x".parse::<Bytes>().is_err());
        assert!("-1".parse::<Bytes>().is_err());
        assert!("99999999999G".parse::<Bytes>().is_err());
        assert_eq!(Bytes::mib(512).to_string(), "512 MiB");
        assert_eq!(Bytes(1000).to_string(), "1000 bytes");
    }
}
