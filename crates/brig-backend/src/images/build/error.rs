//! Why an image could not be built, and what to do.

use super::super::{DefinitionError, ImageError};
use std::path::PathBuf;

/// A build that failed. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The build mounts, changes its root and makes files of others.
    #[error(
        "building an image needs root: run it with sudo. Without root, `brig image import FILE` takes an archive of `docker save` or a root file system that was built elsewhere"
    )]
    NotRoot,
    /// A program of the host is missing.
    #[error("{tool} is not installed: {remedy}")]
    NoTool {
        /// Which.
        tool: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Others could change what becomes part of an image.
    #[error("{} can be written to by others or belongs to another user: name another place with --cache", .0.display())]
    ForeignCache(PathBuf),
    /// A program cannot be started.
    #[error("failed to start {what}")]
    Start {
        /// Its command line.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{what} failed ({status}); it said last:\n{tail}\n(all of it: {})", log.display())]
    Command {
        /// Its command line, cut short.
        what: String,
        /// How it ended.
        status: String,
        /// Its last lines.
        tail: String,
        /// Where all of them are.
        log: PathBuf,
    },
    /// No interpreter.
    #[error("the image has no {looked_for}: {remedy}")]
    NoPython {
        /// What was looked for.
        looked_for: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A time zone that the image does not know.
    #[error("the image knows no time zone {0}: add the package tzdata, or choose another time_zone")]
    NoTimeZone(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] ImageError),
    /// The definition.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The file system refused.
    #[error("failed to {act} {}", path.display())]
    Io {
        /// What was being done.
        act: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl BuildError {
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }
}
