//! A root file system in memory: what layers make of each other, with every path meant as it is inside.

use super::ImportError;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// As the kernel: a longer chain of links leads nowhere.
const LINKS_MAX: usize = 40;
/// Deeper trees are made to exhaust whoever walks them.
const DEPTH_MAX: usize = 128;
/// Bytes of all names and link targets together.
const NAME_BYTES_MAX: usize = 256 << 20;

/// Where the content of a file is: the number of its layer, and of its entry there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Content {
    pub(super) layer: usize,
    pub(super) entry: usize,
}

/// Whether a file may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Execute {
    Yes,
    No,
}

/// A directory, file or link.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Directory(BTreeMap<OsString, Node>),
    File(Content, Execute),
    Link(PathBuf),
}

/// What is at a path, and the layer that put it there last.
#[derive(Debug, Clone)]
pub(super) struct Node {
    layer: usize,
    pub(super) kind: Kind,
}

/// The whole.
#[derive(Debug)]
pub(super) struct Tree {
    root: BTreeMap<OsString, Node>,
    entries_left: usize,
    entries_most: usize,
    name_bytes: usize,
    left_out: usize,
}

/// A path of which every part but the last is a directory.
#[derive(Debug)]
struct Real {
    parents: Vec<OsString>,
    name: OsString,
}

impl Tree {
    pub(super) fn new(entries: usize) -> Self {
        Self {
            root: BTreeMap::new(),
            entries_left: entries,
            entries_most: entries,
            name_bytes: 0,
            left_out: 0,
        }
    }

    pub(super) fn root(&self) -> &BTreeMap<OsString, Node> {
        &self.root
    }

    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// A device or the like, which no image has.
    pub(super) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    pub(super) fn add_directory(&mut self, layer: usize, path: &Path) -> Result<(), ImportError> {
        let Some(real) = self.real(path)? else {
            return Ok(());
        };
        let directory = self.directory(layer, path, &real.parents)?;
        match directory.get_mut(&real.name) {
            Some(node) if matches!(node.kind, Kind::Directory(_)) => node.layer = layer,
            Some(_) | None => {
                let kind = Kind::Directory(BTreeMap::new());
                directory.insert(real.name, Node { layer, kind });
            }
        }
        Ok(())
    }

    pub(super) fn add_file(
        &mut self,
        path: &Path,
        content: Content,
        execute: Execute,
    ) -> Result<(), ImportError> {
        self.add(content.layer, path, Kind::File(content, execute))
    }

    pub(super) fn add_link(
        &mut self,
        layer: usize,
        path: &Path,
        points_to: &Path,
    ) -> Result<(), ImportError> {
        let bytes = points_to.as_os_str().len();
        if bytes == 0 || bytes > 4_095 {
            return Err(refused(path, "is a link to no path"));
        }
        self.count_names(bytes)?;
        self.add(layer, path, Kind::Link(points_to.to_owned()))
    }

    /// A second name of a file that is in the tree. What it leads to is looked for inside, like everything else.
    pub(super) fn add_hard_link(
        &mut self,
        layer: usize,
        path: &Path,
        target: &Path,
    ) -> Result<(), ImportError> {
        let missing = || {
            refused(
                path,
                &format!(
                    "is a second name of {}, which is no file of the image",
                    target.display()
                ),
            )
        };
        let real = self.real(target)?.ok_or_else(missing)?;
        let kind = match self.get(&real).map(|node| node.kind.clone()) {
            Some(kind @ (Kind::File(..) | Kind::Link(_))) => kind,
            Some(Kind::Directory(_)) | None => return Err(missing()),
        };
        self.add(layer, path, kind)
    }

    /// Takes away what lower layers put at a path.
    pub(super) fn white_out(&mut self, layer: usize, path: &Path) -> Result<(), ImportError> {
        let Some(real) = self.real(path)? else {
            return Err(refused(path, "takes away the root"));
        };
        let Some(directory) = self.existing(&real.parents) else {
            return Ok(());
        };
        let stays = directory
            .get_mut(&real.name)
            .is_some_and(|node| keep_newer(node, layer));
        if !stays {
            directory.remove(&real.name);
        }
        Ok(())
    }

    /// Takes away what lower layers put into a directory.
    pub(super) fn white_out_below(&mut self, layer: usize, path: &Path) -> Result<(), ImportError> {
        let parents = match self.real(path)? {
            None => Vec::new(),
            Some(real) => [real.parents, vec![real.name]].concat(),
        };
        if let Some(directory) = self.existing(&parents) {
            directory.retain(|_, node| keep_newer(node, layer));
        }
        Ok(())
    }

    fn add(&mut self, layer: usize, path: &Path, kind: Kind) -> Result<(), ImportError> {
        let real = self
            .real(path)?
            .ok_or_else(|| refused(path, "replaces the root"))?;
        let directory = self.directory(layer, path, &real.parents)?;
        directory.insert(real.name, Node { layer, kind });
        Ok(())
    }

    /// Where a path leads, with links on the way (not at its end) followed inside. `None`: the root itself.
    fn real(&mut self, path: &Path) -> Result<Option<Real>, ImportError> {
        let mut names = names(path)?;
        let Some(name) = names.pop_back() else {
            return Ok(None);
        };
        self.count_names(path.as_os_str().len())?;
        let mut parents: Vec<OsString> = Vec::new();
        let mut links = 0;
        while let Some(part) = names.pop_front() {
            if part == ".." {
                parents.pop();
                continue;
            }
            let points_to = match self.node(&parents, &part).map(|node| &node.kind) {
                Some(Kind::Link(points_to)) => points_to,
                Some(Kind::Directory(_) | Kind::File(..)) | None => {
                    parents.push(part);
                    if parents.len() > DEPTH_MAX {
                        return Err(refused(path, "is too deep"));
                    }
                    continue;
                }
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(refused(path, "is behind too many links"));
            }
            if points_to.is_absolute() {
                parents.clear();
            }
            for part in points_to.components().rev() {
                match part {
                    Component::Normal(name) => names.push_front(name.to_owned()),
                    Component::ParentDir => names.push_front("..".into()),
                    Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                }
            }
        }
        Ok(Some(Real { parents, name }))
    }

    fn get(&self, real: &Real) -> Option<&Node> {
        self.node(&real.parents, &real.name)
    }

    fn node(&self, parents: &[OsString], name: &OsStr) -> Option<&Node> {
        let mut directory = &self.root;
        for parent in parents {
            match &directory.get(parent)?.kind {
                Kind::Directory(below) => directory = below,
                Kind::File(..) | Kind::Link(_) => return None,
            }
        }
        directory.get(name)
    }

    fn existing(&mut self, parents: &[OsString]) -> Option<&mut BTreeMap<OsString, Node>> {
        let mut directory = &mut self.root;
        for parent in parents {
            match &mut directory.get_mut(parent)?.kind {
                Kind::Directory(below) => directory = below,
                Kind::File(..) | Kind::Link(_) => return None,
            }
        }
        Some(directory)
    }

    /// The directory, made where it is missing.
    fn directory(
        &mut self,
        layer: usize,
        path: &Path,
        parents: &[OsString],
    ) -> Result<&mut BTreeMap<OsString, Node>, ImportError> {
        // The entry itself, and at most so many directories above it.
        let made = parents.len() + 1;
        if self.entries_left < made {
            return Err(ImportError::TooLarge {
                most: self.entries_most as u64,
                what: "files",
            });
        }
        self.entries_left -= 1;
        let mut directory = &mut self.root;
        for parent in parents {
            let node = directory.entry(parent.clone()).or_insert_with(|| {
                self.entries_left -= 1;
                Node {
                    layer,
                    kind: Kind::Directory(BTreeMap::new()),
                }
            });
            match &mut node.kind {
                Kind::Directory(below) => directory = below,
                Kind::File(..) | Kind::Link(_) => return Err(refused(path, "is below a file")),
            }
        }
        Ok(directory)
    }

    fn count_names(&mut self, bytes: usize) -> Result<(), ImportError> {
        self.name_bytes += bytes;
        if self.name_bytes > NAME_BYTES_MAX {
            return Err(ImportError::TooLarge {
                most: NAME_BYTES_MAX as u64,
                what: "bytes of names",
            });
        }
        Ok(())
    }
}

/// Whether something of this layer is left of a node; what older layers put there is taken away.
fn keep_newer(node: &mut Node, layer: usize) -> bool {
    if let Kind::Directory(below) = &mut node.kind {
        below.retain(|_, node| keep_newer(node, layer));
        return node.layer == layer || !below.is_empty();
    }
    node.layer == layer
}

/// The parts of a path of an archive. A leading slash means the root inside; `..` is in no honest archive.
fn names(path: &Path) -> Result<VecDeque<OsString>, ImportError> {
    let mut names = VecDeque::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push_back(name.to_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refused(path, "leads out of its place"));
            }
        }
    }
    if names.len() > DEPTH_MAX {
        return Err(refused(path, "is too deep"));
    }
    Ok(names)
}

pub(super) fn refused(path: &Path, what: &str) -> ImportError {
    ImportError::Refused {
        entry: path.to_string_lossy().chars().take(200).collect(),
        what: what.to_owned(),
    }
}
