//! Images that were made elsewhere: an archive of `docker save`, an OCI archive, or a root file system as a tar.
//!
//! An archive is hostile. It is read twice and never unpacked by path: first its headers become a tree in memory, in which
//! links, whiteouts and hard links are resolved as they are meant inside; then that tree is made in an empty directory,
//! directories first, then files (each opened as a new one), links last, so that nothing is ever written through a link.
//! Devices, owners, setuid bits and extended attributes are not taken. Sizes and numbers are bounded by what was read, not
//! by what a header says.
//!
//! ```text
//!  file ─▶ blob.rs (slices, decompressed) ─▶ layout.rs (which layers, verified by their digests) ─▶ layer.rs ─▶ tree.rs
//!       ─▶ write.rs ─▶ build::finish_import (identity, modes, times) ─▶ published under its digest
//! ```

mod blob;
mod error;
mod layer;
mod layout;
mod tree;
mod write;

pub use error::ImportError;

use super::build::{Progress, finish_import, image_size};
use super::{FoundImage, ImageLimits, ImageMeta, ImageStore, checked_name, packages};
use blob::Blob;
use brig_core::limits::Bytes;
use brig_core::time::Timestamp;
use layout::Layout;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use tree::Tree;

/// What an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of its files, unpacked, and of each layer.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 20 << 30,
            entries: 1_000_000,
        }
    }
}

/// What to import.
#[derive(Debug)]
pub struct ImportRequest {
    /// The archive, opened.
    pub archive: File,
    /// Where it came from, for the description.
    pub origin: String,
    /// The name of the image; by default what the archive says.
    pub name: Option<String>,
    /// Its interpreter, as a path inside; looked for where it is not named.
    pub python: Option<String>,
    /// What is too much.
    pub bounds: Bounds,
}

/// What was imported.
#[derive(Debug)]
pub struct Imported {
    /// The image.
    pub image: FoundImage,
    /// Devices, pipes and the like that were left out.
    pub left_out: usize,
}

/// Makes an image of an archive and gives it its name in the store: the request's, the archive's, or at last the default.
///
/// # Errors
/// The archive is broken, is for other machines, tries to leave its root or is too large; there is no interpreter in it; the
/// file system refuses.
pub fn import(
    store: &ImageStore,
    request: ImportRequest,
    default_name: Option<String>,
    progress: &dyn Progress,
) -> Result<Imported, ImportError> {
    let made = store.begin()?;
    let unpacked = unpack(&request, made.path(), progress)?;
    let name = request.name.or(unpacked.name).or(default_name);
    let name = name.ok_or(ImportError::NoName)?;
    let name = checked_name(&name)?;
    progress.step("Settling");
    let python = finish_import(made.path(), request.python.as_deref())?;
    progress.step("Counting the digest");
    let digest = super::tar::digest_root(made.path()).map_err(ImportError::io("read", made.path()))?;
    let meta = ImageMeta {
        name: name.0,
        digest,
        python,
        env: unpacked.env,
        preload: Vec::new(),
        limits: ImageLimits::default(),
        created: Timestamp::now(),
        base: request.origin,
        size_bytes: Bytes(image_size(made.path())?),
        packages: packages::installed(made.path()),
    };
    Ok(Imported {
        image: store.publish(made, &meta)?,
        left_out: unpacked.left_out,
    })
}

/// What an archive says beside its files.
#[derive(Debug)]
pub struct Unpacked {
    /// The name that it has.
    pub name: Option<String>,
    /// Environment of its programs.
    pub env: BTreeMap<String, String>,
    /// Devices, pipes and the like that were left out.
    pub left_out: usize,
}

/// Makes the archive's files in an empty directory.
///
/// # Errors
/// As [`import`].
pub fn unpack(
    request: &ImportRequest,
    target: &Path,
    progress: &dyn Progress,
) -> Result<Unpacked, ImportError> {
    progress.step("Reading the archive");
    let scratch = target.parent().unwrap_or(target);
    let whole = request
        .archive
        .try_clone()
        .map_err(ImportError::io("read", &request.origin))?;
    let whole = Blob::of_file(whole)?.decompressed(scratch, request.bounds.bytes)?;
    let layout = Layout::find(&whole, scratch, request.bounds)?;
    let mut tree = Tree::new(request.bounds.entries);
    for (number, layer) in layout.layers.iter().enumerate() {
        layer::apply(&mut tree, number, layer, layout.whiteouts)?;
    }
    progress.step("Unpacking");
    write::write(&tree, &layout.layers, target, request.bounds.bytes, progress)?;
    Ok(Unpacked {
        name: layout.name,
        env: layout.env,
        left_out: tree.left_out(),
    })
}

#[cfg(test)]
mod tests;
