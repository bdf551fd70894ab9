//! What a cell of the jail needs to know of its image.

use super::JailConfig;
use crate::images::FoundImage;
use brig_core::backend::BackendError;
use brig_core::spec::ImageName;
use brig_jail::protocol::ImageDigest;

/// An image that a cell can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JailImage {
    /// Its root, as the keeper is asked for it.
    pub(super) digest: ImageDigest,
    /// Name and digest, for the receipt.
    pub(super) label: String,
    /// Its interpreter, as a path inside the cell.
    pub(super) python: String,
    /// What it adds to the environment of every program.
    pub(super) env: Vec<(String, String)>,
    /// What to do where the interpreter cannot be started.
    pub(super) remedy: &'static str,
}

impl JailImage {
    pub(super) fn host(config: &JailConfig) -> JailImage {
        JailImage {
            digest: ImageDigest::HOST,
            label: ImageName::host().0,
            python: config.python.clone(),
            env: Vec::new(),
            remedy: "name an interpreter that the image has: `python` below `[images.host]` in the configuration",
        }
    }

    /// The image that a name means now.
    pub(super) fn find(config: &JailConfig, name: &ImageName) -> Result<JailImage, BackendError> {
        if *name == ImageName::host() {
            return Ok(JailImage::host(config));
        }
        let found = config.images.resolve(name);
        let FoundImage { meta, .. } = found.map_err(|error| error.into_backend_error(&name.0))?;
        Ok(JailImage {
            digest: meta.digest.for_keeper(),
            label: format!("{}@sha256:{}", name.0, meta.digest),
            python: meta.python,
            env: meta.env.into_iter().collect(),
            remedy: "build the image again: `brig image build`",
        })
    }
}
