//! Why an archive is not taken.

use super::super::ImageError;
use super::super::build::BuildError;
use std::path::PathBuf;

/// An import that failed. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not an archive, or a broken one.
    #[error("the archive cannot be used: {0}")]
    Broken(String),
    /// An entry that an honest archive does not have.
    #[error("the archive is refused: {entry:?} {what}")]
    Refused {
        /// Its path, as the archive has it.
        entry: String,
        /// What is wrong with it.
        what: String,
    },
    /// Too much.
    #[error("the archive is too large: more than {most} {what}; --max-size allows more bytes")]
    TooLarge {
        /// What there may be.
        most: u64,
        /// Of what.
        what: &'static str,
    },
    /// Nobody knows what to call it.
    #[error("the archive does not say what the image is called: add --name NAME")]
    NoName,
    /// Packed with a program that is not there.
    #[error("the archive is compressed with {0}, which is not installed: `apt-get install {0}`")]
    NoTool(&'static str),
    /// The store.
    #[error(transparent)]
    Store(#[from] ImageError),
    /// The last steps.
    #[error(transparent)]
    Finish(#[from] BuildError),
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

impl ImportError {
    pub(super) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }
}
