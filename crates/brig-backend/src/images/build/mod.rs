//! Building an image from its definition.
//!
//! ```text
//!  base (debootstrap and apt, or an image of an engine) ──▶ a copy ──▶ Python packages (hashes decide) ──▶ after.py
//!     └ kept in the cache                                                └ wheels kept in the cache
//!   ──▶ taken out: caches, logs, documentation, identities, setuid bits ──▶ compiled ──▶ published under its digest
//! ```
//!
//! Only what downloads has a network; what was downloaded runs without one. An interrupted build leaves its cache and
//! nothing else: the copy is swept by the next one that opens the store, mounts and processes end with their namespaces.

mod base;
mod clean;
mod command;
mod error;
mod finish;
mod python;

pub(super) use command::decompressor;
pub use error::BuildError;
pub(super) use finish::finish_import;

use super::{Definition, FoundImage, ImageMeta, ImageStore, packages};
use brig_core::limits::Bytes;
use brig_core::time::Timestamp;
use command::Shop;
use std::path::{Path, PathBuf};

/// What a person sees of a build.
pub trait Progress: std::fmt::Debug + Sync {
    /// A new step began.
    fn step(&self, what: &str);
    /// A line of what the step's program says.
    fn line(&self, line: &str);
    /// Something that has a known length went on.
    fn bytes(&self, done: u64, of: u64);
}

/// Where the system of an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseChoice {
    /// As the definition says.
    Debootstrap,
    /// A root file system that somebody unpacked already (an official image that an engine had): where, and its name.
    Unpacked {
        /// The unpacked root file system.
        root: PathBuf,
        /// What it was, for the description.
        name: String,
    },
}

/// Whether what earlier builds left is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    /// A base that was made before, and wheels.
    Reuse,
    /// A new base: today's packages.
    Renew,
}

/// How a definition is built.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// What.
    pub definition: Definition,
    /// From what.
    pub base: BaseChoice,
    /// Bases and wheels are kept here.
    pub cache: PathBuf,
    /// Whether they are used.
    pub cache_use: CacheUse,
}

/// Where bases and wheels are kept: for root `/var/cache/brig/images`, else below the user's cache.
#[must_use]
pub fn default_cache() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/cache/brig/images");
    }
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache
        .unwrap_or_else(|| PathBuf::from("/var/tmp"))
        .join("brig/images")
}

/// Builds an image and gives it its name in the store.
///
/// # Errors
/// A program that failed, with the end of what it said; a file system that refuses; a user who is not root.
pub fn build(
    store: &ImageStore,
    request: &BuildRequest,
    progress: &dyn Progress,
) -> Result<FoundImage, BuildError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(BuildError::NotRoot);
    }
    let cache = prepare_cache(&request.cache)?;
    let recipe = &request.definition.recipe;
    let shop = Shop {
        log: cache.join(format!("{}.log", request.definition.name)),
        progress,
    };
    absent_is_fine(std::fs::remove_file(&shop.log)).map_err(BuildError::io("remove", &shop.log))?;
    let made = store.begin()?;
    let inputs = python::Inputs::lay_out(&cache, &request.definition)?;
    let base = base::lay(&shop, &cache, &inputs, request, made.path())?;
    let room = python::Room::enter(&shop, made.path(), &inputs)?;
    base::install_packages(&room, &request.base, recipe)?;
    let interpreter = finish::find_python(made.path(), recipe.python.as_deref())?;
    python::install(&room, &inputs, &interpreter)?;
    progress.step("Taking out what cells do not need");
    clean::clean_built(made.path(), &recipe.remove)?;
    finish::write_identity(made.path(), &recipe.time_zone)?;
    progress.step("Compiling Python's modules");
    python::compile(&room, &interpreter)?;
    clean::settle(made.path())?;
    progress.step("Counting the digest");
    let mut meta = describe(made.path(), &request.definition, &interpreter)?;
    meta.base = base;
    Ok(store.publish(made, &meta)?)
}

fn describe(root: &Path, definition: &Definition, interpreter: &str) -> Result<ImageMeta, BuildError> {
    let recipe = &definition.recipe;
    let digest = super::tar::digest_root(root).map_err(BuildError::io("read", root))?;
    let mut env = recipe.env.clone();
    env.entry("LANG".to_owned())
        .or_insert_with(|| recipe.locale.clone());
    env.entry("TZ".to_owned())
        .or_insert_with(|| recipe.time_zone.clone());
    Ok(ImageMeta {
        name: definition.name.clone(),
        digest,
        python: interpreter.to_owned(),
        env,
        preload: recipe.preload.clone(),
        limits: recipe.limits,
        created: Timestamp::now(),
        base: String::new(),
        size_bytes: Bytes(image_size(root)?),
        packages: packages::installed(root),
    })
}

/// Bytes of the files of an image.
pub(super) fn image_size(root: &Path) -> Result<u64, BuildError> {
    clean::size_of(root).map_err(BuildError::io("read", root))
}

/// The cache is root's alone: what is in it becomes part of images.
fn prepare_cache(cache: &Path) -> Result<PathBuf, BuildError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let failed = BuildError::io("make", cache);
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(cache);
    let cache = made.and_then(|()| cache.canonicalize()).map_err(failed)?;
    let found = std::fs::metadata(&cache).map_err(BuildError::io("look at", &cache))?;
    if found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(BuildError::ForeignCache(cache));
    }
    Ok(cache)
}

fn absent_is_fine(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
