//! One layer: the headers of a tar archive, applied to the tree.

use super::ImportError;
use super::blob::{Blob, Reader};
use super::tree::{Content, Execute, Tree, refused};
use ::tar::{Archive, Entry};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Names longer than the longest path, and attributes, come as entries of their own, which are read whole.
const EXTENSION_BYTES_MAX: u64 = 64 << 10;

/// Archives are made of blocks.
const BLOCK: u64 = 512;

/// The prefix of a name that takes another away, and the name that empties a directory.
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// Whether names mean what they mean in layers of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whiteouts {
    Honoured,
    /// A plain archive of a root file system.
    PlainNames,
}

/// Refuses what would be read into memory whole, and an archive that was cut off between two files.
pub(super) fn check(blob: &Blob, entries_most: usize) -> Result<(), ImportError> {
    let mut archive = Archive::new(blob.reader());
    let entries = archive.entries_with_seek().map_err(broken)?.raw(true);
    let mut end = 0;
    for (number, entry) in entries.enumerate() {
        let entry = entry.map_err(broken)?;
        if number > entries_most.saturating_mul(3) {
            return Err(ImportError::TooLarge {
                most: entries_most as u64,
                what: "files",
            });
        }
        let kind = entry.header().entry_type();
        let extension = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_global_extensions()
            || kind.is_pax_local_extensions();
        let size = entry.header().entry_size().map_err(broken)?;
        if size > blob.length() {
            return Err(ImportError::Broken("it ends too early".to_owned()));
        }
        if kind.is_gnu_sparse() {
            // Only backup programs write them, and their headers may go on for ever.
            return Err(ImportError::Broken(
                "it has files with holes: pack it again without them".to_owned(),
            ));
        }
        if extension && size > EXTENSION_BYTES_MAX {
            return Err(ImportError::Broken(
                "a name in it is longer than any path".to_owned(),
            ));
        }
        end = entry
            .raw_file_position()
            .saturating_add(size.next_multiple_of(BLOCK));
    }
    let mut last = Vec::new();
    let read = blob.part(end, BLOCK)?.reader().read_to_end(&mut last);
    read.map_err(broken)?;
    if last.iter().any(|byte| *byte != 0) {
        return Err(ImportError::Broken(
            "it does not end as an archive does".to_owned(),
        ));
    }
    Ok(())
}

/// Applies the entries of a layer.
pub(super) fn apply(
    tree: &mut Tree,
    layer: usize,
    blob: &Blob,
    whiteouts: Whiteouts,
) -> Result<(), ImportError> {
    let mut archive = Archive::new(blob.reader());
    for (number, entry) in archive.entries_with_seek().map_err(broken)?.enumerate() {
        let entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        if whiteouts == Whiteouts::Honoured && white_out(tree, layer, &path)? {
            continue;
        }
        let content = Content { layer, entry: number };
        add(tree, &entry, &path, content)?;
    }
    Ok(())
}

fn add(tree: &mut Tree, entry: &Entry<'_, Reader>, path: &Path, content: Content) -> Result<(), ImportError> {
    let kind = entry.header().entry_type();
    if kind.is_file() || kind.is_contiguous() {
        let mode = entry.header().mode().map_err(broken)?;
        let execute = if mode & 0o111 == 0 {
            Execute::No
        } else {
            Execute::Yes
        };
        return tree.add_file(path, content, execute);
    }
    if kind.is_dir() {
        return tree.add_directory(content.layer, path);
    }
    if kind.is_symlink() {
        return tree.add_link(content.layer, path, &points_to(entry, path)?);
    }
    if kind.is_hard_link() {
        return tree.add_hard_link(content.layer, path, &points_to(entry, path)?);
    }
    if !kind.is_pax_global_extensions() {
        // A device or a pipe.
        tree.leave_out();
    }
    Ok(())
}

fn points_to(entry: &Entry<'_, Reader>, path: &Path) -> Result<PathBuf, ImportError> {
    let points_to = entry.link_name().map_err(broken)?;
    points_to
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| refused(path, "is a link to nothing"))
}

/// Whether the entry was one that takes others away.
fn white_out(tree: &mut Tree, layer: usize, path: &Path) -> Result<bool, ImportError> {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return Ok(false);
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    if name == OPAQUE {
        tree.white_out_below(layer, directory)?;
        return Ok(true);
    }
    let Some(gone) = name.strip_prefix(WHITEOUT) else {
        return Ok(false);
    };
    // Names of the form `.wh..wh.*` are the storage driver's own.
    if gone.starts_with(WHITEOUT) {
        return Ok(true);
    }
    if matches!(gone, "" | "." | "..") {
        return Err(refused(path, "takes away what is no name"));
    }
    let gone = std::ffi::OsStr::new(gone);
    tree.white_out(layer, &directory.join(gone))?;
    Ok(true)
}

pub(super) fn broken(error: std::io::Error) -> ImportError {
    ImportError::Broken(error.to_string())
}
