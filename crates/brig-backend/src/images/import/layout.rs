//! What kind of archive it is, and its layers in order, each with the content that its digest says.

use super::blob::Blob;
use super::layer::{Whiteouts, broken, check};
use super::{Bounds, ImportError};
use ::tar::{Archive, EntryType};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path};

/// The largest description.
const JSON_BYTES_MAX: u64 = 4 << 20;
/// More layers than any engine takes.
const LAYERS_MAX: usize = 256;
/// Indexes of indexes.
const NESTED_MAX: usize = 3;

/// An archive, understood.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) layers: Vec<Blob>,
    pub(super) whiteouts: Whiteouts,
    pub(super) name: Option<String>,
    pub(super) env: BTreeMap<String, String>,
}

/// `manifest.json` of `docker save`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An index or a manifest of OCI.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// The configuration of an image, in both formats.
#[derive(Debug, Deserialize)]
struct Config {
    architecture: String,
    os: String,
    config: Option<Process>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Process {
    env: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// The files of the outer archive, by name.
#[derive(Debug)]
struct Files<'a> {
    archive: &'a Blob,
    places: HashMap<String, Blob>,
    scratch: &'a Path,
    bounds: Bounds,
}

impl Layout {
    pub(super) fn find(archive: &Blob, scratch: &Path, bounds: Bounds) -> Result<Self, ImportError> {
        if archive.length() == 0 {
            return Err(ImportError::Broken("it is empty".to_owned()));
        }
        check(archive, bounds.entries)?;
        let files = Files {
            archive,
            places: outer_files(archive)?,
            scratch,
            bounds,
        };
        if files.places.contains_key("manifest.json") {
            return files.saved();
        }
        if files.places.contains_key("index.json") && files.places.contains_key("oci-layout") {
            return files.oci();
        }
        Ok(Self {
            layers: vec![archive.clone()],
            whiteouts: Whiteouts::PlainNames,
            name: None,
            env: BTreeMap::new(),
        })
    }
}

impl Files<'_> {
    fn saved(&self) -> Result<Layout, ImportError> {
        let mut saved: Vec<Saved> = parse("manifest.json", &self.small("manifest.json")?)?;
        let (Some(image), true) = (saved.pop(), saved.is_empty()) else {
            return Err(ImportError::Broken(
                "it has not exactly one image: save one at a time".to_owned(),
            ));
        };
        let layers = image
            .layers
            .iter()
            .map(|layer| self.file(layer))
            .collect::<Result<_, _>>()?;
        let name = image
            .repo_tags
            .unwrap_or_default()
            .first()
            .and_then(|tag| short_name(tag));
        let config = self.file(&image.config)?;
        self.layout(&config, layers, name)
    }

    fn oci(&self) -> Result<Layout, ImportError> {
        let mut manifest: Manifest = parse("index.json", &self.small("index.json")?)?;
        let mut name = None;
        for _ in 0..NESTED_MAX {
            let Some(config) = &manifest.config else {
                let chosen = choose(&manifest.manifests)?;
                let named = chosen.annotations.get("org.opencontainers.image.ref.name");
                name = name.or_else(|| named.and_then(|tag| short_name(tag)));
                manifest = parse(
                    &chosen.digest,
                    &self.blob(&chosen.digest)?.read_small(JSON_BYTES_MAX)?,
                )?;
                continue;
            };
            let layers = manifest
                .layers
                .iter()
                .map(|layer| self.blob(&layer.digest))
                .collect::<Result<_, _>>()?;
            return self.layout(&self.blob(&config.digest)?, layers, name);
        }
        Err(ImportError::Broken("its index leads to no image".to_owned()))
    }

    fn layout(&self, config: &Blob, packed: Vec<Blob>, name: Option<String>) -> Result<Layout, ImportError> {
        let config: Config = parse("the configuration", &config.read_small(JSON_BYTES_MAX)?)?;
        if config.os != "linux" || config.architecture != architecture() {
            return Err(ImportError::Broken(format!(
                "it is for {}/{}, and this machine is linux/{}",
                config.os,
                config.architecture,
                architecture()
            )));
        }
        let digests = &config.rootfs.diff_ids;
        if packed.len() != digests.len() || packed.len() > LAYERS_MAX {
            return Err(ImportError::Broken(format!(
                "it has {} layers and digests of {}",
                packed.len(),
                digests.len()
            )));
        }
        let mut layers = Vec::new();
        for (layer, digest) in packed.iter().zip(digests) {
            let layer = layer.decompressed(self.scratch, self.bounds.bytes)?;
            verify(&layer, digest)?;
            check(&layer, self.bounds.entries)?;
            layers.push(layer);
        }
        Ok(Layout {
            layers,
            whiteouts: Whiteouts::Honoured,
            name,
            env: environment(config.config),
        })
    }

    fn small(&self, name: &str) -> Result<Vec<u8>, ImportError> {
        self.file(name)?.read_small(JSON_BYTES_MAX)
    }

    fn file(&self, name: &str) -> Result<Blob, ImportError> {
        let found = normal(Path::new(name)).and_then(|name| self.places.get(&name));
        found.cloned().ok_or_else(|| {
            ImportError::Broken(format!(
                "it names {name:?}, which is not in it ({} bytes)",
                self.archive.length()
            ))
        })
    }

    /// A blob by its digest, which it must have.
    fn blob(&self, digest: &str) -> Result<Blob, ImportError> {
        let hex = sha256_digits(digest)?;
        let blob = self.file(&format!("blobs/sha256/{hex}"))?;
        verify(&blob, digest)?;
        Ok(blob)
    }
}

fn outer_files(archive: &Blob) -> Result<HashMap<String, Blob>, ImportError> {
    let mut places = HashMap::new();
    let mut links = Vec::new();
    let mut outer = Archive::new(archive.reader());
    for entry in outer.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let Some(name) = normal(&path) else { continue };
        let kind = entry.header().entry_type();
        if kind == EntryType::Regular {
            places.insert(name, archive.part(entry.raw_file_position(), entry.size())?);
        } else if let (true, Ok(Some(target))) = (kind == EntryType::Symlink, entry.link_name()) {
            // Older engines save a layer that occurs twice as a link.
            let target = path.parent().unwrap_or(Path::new("")).join(target);
            links.extend(normal(&target).map(|target| (name, target)));
        }
    }
    for (name, target) in links {
        if let Some(blob) = places.get(&target).cloned() {
            places.entry(name).or_insert(blob);
        }
    }
    Ok(places)
}

/// A name of the outer archive, which is looked up and never opened.
fn normal(path: &Path) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(names.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(names.join("/"))
}

/// The image for this machine.
fn choose(manifests: &[Descriptor]) -> Result<&Descriptor, ImportError> {
    let fits = |descriptor: &&Descriptor| {
        descriptor
            .platform
            .as_ref()
            .is_none_or(|platform| platform.os == "linux" && platform.architecture == architecture())
    };
    let mut fitting = manifests.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(chosen), None) => Ok(chosen),
        (None, _) => Err(ImportError::Broken(format!(
            "it has no image for linux/{}",
            architecture()
        ))),
        (Some(_), Some(_)) => Err(ImportError::Broken(
            "it has several images: save one at a time".to_owned(),
        )),
    }
}

/// What registries call this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn sha256_digits(digest: &str) -> Result<&str, ImportError> {
    digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .ok_or_else(|| ImportError::Broken(format!("{digest:?} is no SHA-256 digest")))
}

fn verify(blob: &Blob, digest: &str) -> Result<(), ImportError> {
    let expected = sha256_digits(digest)?;
    let found = blob.digest()?;
    if found == expected {
        return Ok(());
    }
    Err(ImportError::Broken(format!(
        "what it calls {digest} has the digest {found}"
    )))
}

fn parse<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ImportError> {
    serde_json::from_slice(bytes).map_err(|error| ImportError::Broken(format!("{name} in it: {error}")))
}

/// `docker.io/library/python:3.11-slim` is `python`.
pub(super) fn short_name(tag: &str) -> Option<String> {
    let last = tag.rsplit('/').next()?;
    let name = last.split([':', '@']).next()?.to_lowercase();
    crate::images::checked_name(&name).is_ok().then_some(name)
}

/// What programs get; a home and a host name are every cell's own.
fn environment(process: Option<Process>) -> BTreeMap<String, String> {
    let entries = process.and_then(|process| process.env).unwrap_or_default();
    let mut env = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in entries.iter().filter_map(|entry| entry.split_once('=')) {
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.is_empty()
            && !value.contains('\0');
        bytes += name.len() + value.len();
        if plain
            && !matches!(name, "HOME" | "HOSTNAME" | "USER" | "LOGNAME")
            && bytes <= 16 << 10
            && env.len() < 128
        {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    env
}
