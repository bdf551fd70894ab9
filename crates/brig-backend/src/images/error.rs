//! What can be wrong with an image, and who has to act.

use super::RootDigest;
use brig_core::Fault;
use brig_core::backend::BackendError;
use std::path::PathBuf;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No store takes this name.
    #[error("{name:?} is no name of an image: {why}")]
    BadName {
        /// Which, cut short.
        name: String,
        /// What to do.
        why: &'static str,
    },
    /// No store has this name.
    #[error("there is no image named {name}; there are: {}", list(.known))]
    Unknown {
        /// Which.
        name: String,
        /// Those that there are, `host` left out.
        known: Vec<String>,
    },
    /// No store has this root file system.
    #[error("the root file system {digest} is in no store of images ({})", paths(.stores))]
    NoRoot {
        /// Which.
        digest: RootDigest,
        /// Where it was looked for.
        stores: Vec<PathBuf>,
    },
    /// Others could have changed it.
    #[error("{} {what}", path.display())]
    Unsafe {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// A file of the store is not what it should be.
    #[error("{} {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
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

impl ImageError {
    pub(super) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }

    /// Who is to blame.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::BadName { .. } | Self::Unknown { .. } => Fault::Caller,
            Self::NoRoot { .. } | Self::Unsafe { .. } | Self::Damaged { .. } | Self::Io { .. } => Fault::Host,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self, name: &str) -> String {
        match self {
            Self::BadName { .. } | Self::Unknown { .. } => {
                "`brig image ls` lists the images that there are, `brig image build NAME` makes one".to_owned()
            }
            Self::NoRoot { .. } | Self::Damaged { .. } => {
                format!("build it again: `brig image build {name}`, or import it with `brig image import`")
            }
            Self::Unsafe { .. } => {
                "a store of images belongs to root or to the user who runs Brig, and nobody else may write to it"
                    .to_owned()
            }
            Self::Io { .. } => "see that the user who runs Brig may read the store of images".to_owned(),
        }
    }

    /// As the port tells it: an image that nobody has, or a set-up that failed and names the image.
    #[must_use]
    pub fn into_backend_error(self, name: &str) -> BackendError {
        let errno = match &self {
            Self::Io { source, .. } => source.raw_os_error().unwrap_or(0),
            Self::BadName { .. } | Self::Unknown { .. } => {
                return BackendError::UnknownImage(name.to_owned());
            }
            Self::NoRoot { .. } | Self::Unsafe { .. } | Self::Damaged { .. } => 0,
        };
        BackendError::Setup {
            stage: "image".to_owned(),
            item: format!("{name}: {self}"),
            errno,
            remedy: self.remedy(name),
        }
    }
}

fn list(names: &[String]) -> String {
    let mut all = vec!["host"];
    all.extend(names.iter().map(String::as_str));
    all.join(", ")
}

fn paths(paths: &[PathBuf]) -> String {
    let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    all.join(", ")
}
