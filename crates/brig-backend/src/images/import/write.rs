//! The tree on disk: directories, then files, then links, in a directory that was empty and that nobody else writes to.

use super::ImportError;
use super::blob::Blob;
use super::layer::broken;
use super::tree::{Content, Execute, Kind, Node, Tree};
use crate::images::build::Progress;
use crate::images::tar::{OPEN_MODE, PLAIN_MODE};
use ::tar::Archive;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Names of files with the same content: the first is written, the others are further names of it.
type Wanted = HashMap<Content, (Execute, Vec<PathBuf>)>;

pub(super) fn write(
    tree: &Tree,
    layers: &[Blob],
    target: &Path,
    most: u64,
    progress: &dyn Progress,
) -> Result<(), ImportError> {
    let mut plan = Plan::default();
    plan.walk(tree.root(), target)?;
    let mut left = most;
    for (number, blob) in layers.iter().enumerate() {
        let of = layers.len() as u64;
        progress.bytes(number as u64, of);
        write_layer(number, blob, &mut plan.files, (&mut left, most))?;
    }
    for (path, points_to) in plan.links {
        std::os::unix::fs::symlink(points_to, &path).map_err(ImportError::io("make", &path))?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Plan {
    files: Wanted,
    links: Vec<(PathBuf, PathBuf)>,
}

impl Plan {
    fn walk(&mut self, directory: &BTreeMap<OsString, Node>, target: &Path) -> Result<(), ImportError> {
        for (name, node) in directory {
            let path = target.join(name);
            match &node.kind {
                Kind::Directory(below) => {
                    std::fs::create_dir(&path).map_err(ImportError::io("make", &path))?;
                    self.walk(below, &path)?;
                }
                Kind::File(content, execute) => {
                    let wanted = self.files.entry(*content).or_insert((*execute, Vec::new()));
                    wanted.1.push(path);
                }
                Kind::Link(points_to) => self.links.push((path, points_to.clone())),
            }
        }
        Ok(())
    }
}

fn write_layer(
    layer: usize,
    blob: &Blob,
    files: &mut Wanted,
    (left, most): (&mut u64, u64),
) -> Result<(), ImportError> {
    let mut archive = Archive::new(blob.reader());
    for (entry, found) in archive.entries_with_seek().map_err(broken)?.enumerate() {
        let mut found = found.map_err(broken)?;
        let Some((execute, paths)) = files.remove(&Content { layer, entry }) else {
            continue;
        };
        let Some((first, others)) = paths.split_first() else {
            continue;
        };
        let size = found.size();
        let copied = write_file(&mut found, first, execute, *left)?;
        if copied > *left {
            return Err(ImportError::TooLarge { most, what: "bytes" });
        }
        if copied != size {
            return Err(ImportError::Broken("it ends in the middle of a file".to_owned()));
        }
        *left -= copied;
        for other in others {
            std::fs::hard_link(first, other).map_err(ImportError::io("make", other))?;
        }
    }
    Ok(())
}

/// Bytes written: one more than `left` when there are more.
fn write_file(content: &mut impl Read, path: &Path, execute: Execute, left: u64) -> Result<u64, ImportError> {
    let mode = match execute {
        Execute::Yes => OPEN_MODE,
        Execute::No => PLAIN_MODE,
    };
    let opened = File::options().write(true).create_new(true).mode(mode).open(path);
    let mut file = opened.map_err(ImportError::io("make", path))?;
    io::copy(&mut content.take(left.saturating_add(1)), &mut file).map_err(ImportError::io("write", path))
}
