//! What is known of a root file system beside its content.

use super::RootDigest;
use brig_core::limits::{Bytes, LimitsRequest};
use brig_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// The largest description: ten thousand packages fit.
pub(super) const META_BYTES_MAX: u64 = 4 << 20;

/// Environment entries, names and values together.
const ENV_ENTRIES_MAX: usize = 128;
const ENV_BYTES_MAX: usize = 16 << 10;

/// Modules to be imported ahead.
const PRELOAD_MAX: usize = 128;

/// An image: `roots/<digest>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageMeta {
    /// The name under which it was made. What a name means today is in `names/`.
    pub name: String,
    /// Its content.
    pub digest: RootDigest,
    /// Its interpreter, as a path inside.
    pub python: String,
    /// Environment of every program, below what a job asks for.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Modules that most programs import.
    #[serde(default)]
    pub preload: Vec<String>,
    /// Limits of jobs that name none.
    #[serde(default)]
    pub limits: ImageLimits,
    /// When it was made.
    pub created: Timestamp,
    /// What it was made of, in words: `debootstrap bookworm`, `docker:python:3.11-slim`, `archive`.
    pub base: String,
    /// Bytes of its files.
    pub size_bytes: Bytes,
    /// What was installed.
    #[serde(default)]
    pub packages: Vec<Package>,
}

/// Something that was installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Limits where the caller sets none. What is `None` here either is the product's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageLimits {
    /// See [`brig_core::Limits::memory`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<Bytes>,
    /// See [`brig_core::Limits::processes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// See [`brig_core::Limits::workspace`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_bytes: Option<Bytes>,
    /// See [`brig_core::Limits::tmp`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmp_bytes: Option<Bytes>,
    /// See [`brig_core::Limits::shm`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<Bytes>,
    /// See [`brig_core::Limits::open_files`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
}

impl ImageLimits {
    /// As the core says it.
    #[must_use]
    pub fn request(&self) -> LimitsRequest {
        let Self {
            memory_bytes,
            processes,
            workspace_bytes,
            tmp_bytes,
            shm_bytes,
            open_files,
        } = *self;
        LimitsRequest {
            memory: memory_bytes,
            processes,
            workspace: workspace_bytes,
            tmp: tmp_bytes,
            shm: shm_bytes,
            open_files,
            ..LimitsRequest::default()
        }
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [
            self.memory_bytes,
            self.workspace_bytes,
            self.tmp_bytes,
            self.shm_bytes,
        ];
        let counts = [self.processes, self.open_files];
        if sizes.contains(&Some(Bytes(0))) || counts.contains(&Some(0)) {
            return Err("has a limit of zero".to_owned());
        }
        Ok(())
    }
}

impl ImageMeta {
    /// Whether cells can be made of it.
    ///
    /// # Errors
    /// What is wrong, to follow the name of the file that says it.
    pub fn check(&self) -> Result<(), String> {
        let python = Path::new(&self.python);
        if !is_plain(python) || self.python.len() > 4_000 {
            return Err(format!(
                "names no plain absolute path as interpreter: {:?}",
                self.python
            ));
        }
        let bytes: usize = self
            .env
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if self.env.len() > ENV_ENTRIES_MAX || bytes > ENV_BYTES_MAX {
            return Err(format!(
                "has more than {ENV_ENTRIES_MAX} environment entries or more than {ENV_BYTES_MAX} bytes of them"
            ));
        }
        for (name, value) in &self.env {
            if !is_variable(name) || value.contains('\0') {
                return Err(format!(
                    "has an environment entry that no program can be given: {name:?}"
                ));
            }
        }
        if self.preload.len() > PRELOAD_MAX || !self.preload.iter().all(|module| is_module(module)) {
            return Err("names a module to load ahead that is none".to_owned());
        }
        self.limits.check()
    }
}

/// Absolute, and each part a name.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !path.to_string_lossy().contains('\0')
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_module(name: &str) -> bool {
    name.split('.').all(is_variable)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn sample(byte: u8) -> ImageMeta {
        ImageMeta {
            name: "python".to_owned(),
            digest: RootDigest::new([byte; 32]),
            python: "/usr/bin/python3".to_owned(),
            env: BTreeMap::from([("MPLCONFIGDIR".to_owned(), "/tmp/mpl".to_owned())]),
            preload: vec!["numpy".to_owned(), "matplotlib.pyplot".to_owned()],
            limits: ImageLimits {
                memory_bytes: Some(Bytes::gib(1)),
                ..ImageLimits::default()
            },
            created: Timestamp::from_millis(1_700_000_000_000),
            base: "debootstrap bookworm".to_owned(),
            size_bytes: Bytes::mib(80),
            packages: vec![Package {
                name: "pip".to_owned(),
                version: "23.0.1".to_owned(),
            }],
        }
    }

    #[test]
    fn a_description_survives_its_text_and_takes_no_field_that_it_does_not_know() {
        let meta = sample(7);
        let text = serde_json::to_string(&meta).unwrap();
        assert_eq!(serde_json::from_str::<ImageMeta>(&text).unwrap(), meta);
        for inside in ["{", "\"limits\":{"] {
            let more = text.replacen(inside, &format!("{inside}\"privileged\":true,"), 1);
            assert!(serde_json::from_str::<ImageMeta>(&more).is_err(), "{more}");
        }
    }

    #[test]
    fn what_no_program_can_be_given_is_refused() {
        type Spoil = fn(&mut ImageMeta);
        let spoiled: [(Spoil, &str); 9] = [
            (|meta| meta.python = "python3".to_owned(), "interpreter"),
            (|meta| meta.python = "/".to_owned(), "interpreter"),
            (|meta| meta.python = "/usr/../etc/x".to_owned(), "interpreter"),
            (|meta| meta.python = "/usr/bin/\0".to_owned(), "interpreter"),
            (
                |meta| drop(meta.env.insert("A=B".to_owned(), String::new())),
                "A=B",
            ),
            (
                |meta| drop(meta.env.insert("A".to_owned(), "\0".to_owned())),
                "\"A\"",
            ),
            (
                |meta| drop(meta.env.insert("A".to_owned(), "x".repeat(20_000))),
                "bytes",
            ),
            (|meta| meta.preload.push("os; import x".to_owned()), "module"),
            (|meta| meta.limits.memory_bytes = Some(Bytes(0)), "zero"),
        ];
        assert_eq!(sample(7).check(), Ok(()));
        for (spoil, word) in spoiled {
            let mut meta = sample(7);
            spoil(&mut meta);
            let why = meta.check().unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
