//! Reading stores of images. Several directories are one catalogue; of two with the same name the first wins.

use super::meta::META_BYTES_MAX;
use super::remembered::Remembered;
use super::{ImageError, ImageMeta, NAMES, ROOTS, RootDigest, check, checked_name};
use brig_core::backend::ImageOffer;
use brig_core::limits::LimitsRequest;
use brig_core::spec::ImageName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest file of a name.
pub(super) const NAME_BYTES_MAX: u64 = 4 << 10;

/// More names than this are a mistake in the directory, not images.
const NAMES_MAX: usize = 4_096;

/// Where all users' images are. Not below `/var/lib/brig`: that is the data directory of root's service, whose daemon may
/// write there, and nobody else may enter it.
const SYSTEM: &str = "/var/lib/brig-images";

/// `names/<name>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameRecord {
    pub(super) digest: RootDigest,
}

/// Stores of images, to be read.
#[derive(Debug, Clone, Default)]
pub struct ImageCatalog {
    directories: Vec<PathBuf>,
    remembered: Arc<Remembered>,
}

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundImage {
    /// What it is.
    pub meta: ImageMeta,
    /// Its root file system.
    pub root: PathBuf,
    /// The store that has it.
    pub store: PathBuf,
}

/// A name, and the image behind it or what is wrong with it.
#[derive(Debug)]
pub struct ListedImage {
    /// The name.
    pub name: ImageName,
    /// The image.
    pub image: Result<FoundImage, ImageError>,
}

/// The stores of this user, as the environment has it: the own one first, then that of the system. Root has only the latter.
#[must_use]
pub fn default_directories() -> Vec<PathBuf> {
    let system = PathBuf::from(SYSTEM);
    if nix::unistd::geteuid().is_root() {
        return vec![system];
    }
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("brig/images"))
        .into_iter()
        .chain([system])
        .collect()
}

impl ImageCatalog {
    /// The images of these directories. One that is not there holds none; it may be made later.
    #[must_use]
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self {
            directories,
            remembered: Arc::default(),
        }
    }

    /// The directories, first wins.
    #[must_use]
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The image that a name means now.
    ///
    /// # Errors
    /// There is none, or it cannot be trusted or read.
    pub fn resolve(&self, name: &ImageName) -> Result<FoundImage, ImageError> {
        let name = checked_name(&name.0)?;
        match self.named(&name)? {
            Some(digest) => self.find(&digest),
            None => Err(ImageError::Unknown {
                name: name.0,
                known: self.names().unwrap_or_default(),
            }),
        }
    }

    /// The image with this content.
    ///
    /// # Errors
    /// There is none, or it cannot be trusted or read.
    pub fn find(&self, digest: &RootDigest) -> Result<FoundImage, ImageError> {
        for store in &self.directories {
            if let Some(found) = find_in(store, digest)? {
                return Ok(found);
            }
        }
        Err(ImageError::NoRoot {
            digest: *digest,
            stores: self.directories.clone(),
        })
    }

    /// Every name, in order, with its image or what is wrong with that.
    ///
    /// # Errors
    /// A directory cannot be trusted or read.
    pub fn list(&self) -> Result<Vec<ListedImage>, ImageError> {
        let listed = |name: String| {
            let name = ImageName(name);
            let image = self.resolve(&name);
            ListedImage { name, image }
        };
        Ok(self.names()?.into_iter().map(listed).collect())
    }

    /// Every image that a request can name. One that cannot be used is among them, without a digest: a job on it fails with
    /// what is wrong with it, where a word that there is none would mislead.
    #[must_use]
    pub fn offers(&self) -> Vec<ImageOffer> {
        self.remembered.or_look(&self.directories, || self.offers_now())
    }

    fn offers_now(&self) -> Vec<ImageOffer> {
        let listed = self.list().unwrap_or_default();
        let offer = |listed: ListedImage| {
            let meta = listed.image.ok().map(|found| found.meta);
            ImageOffer {
                name: listed.name,
                digest: meta.as_ref().map(|meta| meta.digest.to_string()),
                limits: meta.map_or(LimitsRequest::default(), |meta| meta.limits.request()),
            }
        };
        listed.into_iter().map(offer).collect()
    }

    /// Every name, in order.
    ///
    /// # Errors
    /// A directory cannot be trusted or read.
    pub fn names(&self) -> Result<Vec<String>, ImageError> {
        let mut names = BTreeMap::new();
        for store in &self.directories {
            for name in names_in(store)? {
                names.insert(name, ());
            }
        }
        Ok(names.into_keys().collect())
    }

    fn named(&self, name: &ImageName) -> Result<Option<RootDigest>, ImageError> {
        for store in &self.directories {
            if let Some(record) = read_name(store, name)? {
                return Ok(Some(record.digest));
            }
        }
        Ok(None)
    }
}

/// What a store says of a name.
pub(super) fn read_name(store: &Path, name: &ImageName) -> Result<Option<NameRecord>, ImageError> {
    let Some(names) = safe_part(store, NAMES)? else {
        return Ok(None);
    };
    let path = names.join(format!("{}.json", name.0));
    let bytes = check::read_small(&path, NAME_BYTES_MAX)?;
    bytes.map(|bytes| parse(&path, &bytes)).transpose()
}

/// The image of this content, if the store has all of it.
pub(super) fn find_in(store: &Path, digest: &RootDigest) -> Result<Option<FoundImage>, ImageError> {
    let Some(roots) = safe_part(store, ROOTS)? else {
        return Ok(None);
    };
    let root = roots.join(digest.to_string());
    let description = roots.join(format!("{digest}.json"));
    let Some(bytes) = check::read_small(&description, META_BYTES_MAX)? else {
        return Ok(None);
    };
    if check::directory(&root)?.is_none() {
        return Ok(None);
    }
    let meta: ImageMeta = parse(&description, &bytes)?;
    let damaged = |what: String| ImageError::Damaged {
        path: description.clone(),
        what,
    };
    meta.check().map_err(damaged)?;
    if meta.digest != *digest {
        return Err(damaged(format!("describes another image: {}", meta.digest)));
    }
    Ok(Some(FoundImage {
        meta,
        root,
        store: store.to_owned(),
    }))
}

/// A part of a store, after a look at everything that leads to it; `None` where it is not there.
fn safe_part(store: &Path, part: &str) -> Result<Option<PathBuf>, ImageError> {
    if check::store(store)?.is_none() {
        return Ok(None);
    }
    let part = store.join(part);
    Ok(check::directory(&part)?.map(|()| part))
}

fn names_in(store: &Path) -> Result<Vec<String>, ImageError> {
    let Some(directory) = safe_part(store, NAMES)? else {
        return Ok(Vec::new());
    };
    let failed = |error| ImageError::io("read", directory.clone())(error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name();
        // Half-written files begin with a dot, which no name does.
        let name = entry.to_str().and_then(|entry| entry.strip_suffix(".json"));
        if let Some(name) = name.filter(|name| checked_name(name).is_ok()) {
            names.push(name.to_owned());
        }
        if names.len() > NAMES_MAX {
            return Err(ImageError::Damaged {
                path: directory,
                what: format!("holds more than {NAMES_MAX} names"),
            });
        }
    }
    Ok(names)
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::Damaged {
        path: path.to_owned(),
        what: format!("cannot be understood: {error}"),
    })
}

#[cfg(test)]
mod tests;
