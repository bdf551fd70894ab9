//! What an image is made of: a folder with `image.toml`, and beside it, where there are any, `requirements.lock` (Python
//! packages with the hashes of their wheels) and `after.py` (what is left to do in the image, without a network).

use super::meta::ImageLimits;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Larger files are no definition.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The definitions that every Brig brings along: name, `image.toml`, `requirements.lock`, `after.py`.
const BUILT_IN: [(&str, &str, &str, &str); 2] = [
    (
        "python",
        include_str!("../../../../sandbox-images/python/image.toml"),
        "",
        "",
    ),
    (
        "python-data",
        include_str!("../../../../sandbox-images/python-data/image.toml"),
        include_str!("../../../../sandbox-images/python-data/requirements.lock"),
        include_str!("../../../../sandbox-images/python-data/after.py"),
    ),
];

/// One definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// `image.toml`.
    pub recipe: Recipe,
    /// `requirements.lock`; empty where there are none.
    pub requirements: String,
    /// `after.py`; empty where there is nothing left to do.
    pub after: String,
}

/// `image.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Where the system comes from.
    pub base: Base,
    /// Packages of the system.
    #[serde(default)]
    pub packages: Vec<String>,
    /// The interpreter, as a path inside; looked for where it is not named.
    pub python: Option<String>,
    /// Environment of every program.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Modules that most programs import.
    #[serde(default)]
    pub preload: Vec<String>,
    /// Limits of jobs that name none.
    #[serde(default)]
    pub limits: ImageLimits,
    /// Language and character set of every program.
    #[serde(default = "default_locale")]
    pub locale: String,
    /// Time zone of every program.
    #[serde(default = "default_time_zone")]
    pub time_zone: String,
    /// What is taken out at the end: patterns of paths, `*` within a name, `**` any number of names.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// Where the system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The release of Debian.
    pub suite: String,
    /// Where its packages are. A snapshot's address makes builds of different days the same.
    #[serde(default = "default_mirror")]
    pub mirror: String,
    /// Where its security updates are; empty: none.
    #[serde(default = "default_security_mirror")]
    pub security_mirror: String,
}

fn default_locale() -> String {
    "C.UTF-8".to_owned()
}

fn default_time_zone() -> String {
    "Etc/UTC".to_owned()
}

fn default_mirror() -> String {
    "http://deb.debian.org/debian".to_owned()
}

fn default_security_mirror() -> String {
    "http://deb.debian.org/debian-security".to_owned()
}

/// A definition that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Neither a name of ours nor a folder.
    #[error(
        "there is no definition {0}: name one of python, python-data, or a folder with an image.toml (./{0} if it is here)"
    )]
    Unknown(String),
    /// A file cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `image.toml` is not what it should be.
    #[error("{place}: {what}")]
    Wrong {
        /// Which file.
        place: String,
        /// What is wrong.
        what: String,
    },
}

impl Definition {
    /// The definition that a person means: a name of [`Definition::built_in`], or a folder (anything with a `/`).
    ///
    /// # Errors
    /// There is none, or it is wrong.
    pub fn find(name: &str) -> Result<Self, DefinitionError> {
        if !name.contains('/') {
            return match BUILT_IN.iter().find(|built_in| built_in.0 == name) {
                Some((name, recipe, requirements, after)) => Self::parse(name, recipe, requirements, after),
                None => Err(DefinitionError::Unknown(name.to_owned())),
            };
        }
        Self::read(Path::new(name))
    }

    /// The names of the definitions that Brig brings along.
    #[must_use]
    pub fn built_in() -> Vec<&'static str> {
        BUILT_IN.iter().map(|built_in| built_in.0).collect()
    }

    fn read(folder: &Path) -> Result<Self, DefinitionError> {
        let folder = folder.canonicalize().map_err(|source| DefinitionError::Read {
            path: folder.to_owned(),
            source,
        })?;
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let recipe = read_file(&folder.join("image.toml"))?;
        let optional = |file: &str| {
            let path = folder.join(file);
            if path.exists() {
                read_file(&path)
            } else {
                Ok(String::new())
            }
        };
        Self::parse(
            &name,
            &recipe,
            &optional("requirements.lock")?,
            &optional("after.py")?,
        )
    }

    fn parse(name: &str, recipe: &str, requirements: &str, after: &str) -> Result<Self, DefinitionError> {
        let place = format!("{name}/image.toml");
        let wrong = |what: String| DefinitionError::Wrong {
            place: place.clone(),
            what,
        };
        let recipe: Recipe = toml::from_str(recipe).map_err(|error| wrong(error.to_string()))?;
        super::checked_name(name).map_err(|error| wrong(error.to_string()))?;
        recipe.check().map_err(wrong)?;
        check_requirements(requirements).map_err(|what| DefinitionError::Wrong {
            place: format!("{name}/requirements.lock"),
            what,
        })?;
        Ok(Self {
            name: name.to_owned(),
            recipe,
            requirements: requirements.to_owned(),
            after: after.to_owned(),
        })
    }
}

impl Recipe {
    /// What these words become part of: command lines, files of the system, environments.
    fn check(&self) -> Result<(), String> {
        let word = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+-._:=@/~".contains(&byte))
        };
        let security = Some(&self.base.security_mirror).filter(|mirror| !mirror.is_empty());
        let named = [
            ("base.suite", &self.base.suite),
            ("base.mirror", &self.base.mirror),
            ("locale", &self.locale),
            ("time_zone", &self.time_zone),
        ];
        let named = named
            .into_iter()
            .chain(security.map(|mirror| ("base.security_mirror", mirror)))
            .chain(self.packages.iter().map(|package| ("packages", package)));
        for (field, text) in named {
            if !word(text) {
                return Err(format!("{field}: {text:?} is not a plain word"));
            }
        }
        if self
            .time_zone
            .split('/')
            .any(|part| part == ".." || part.is_empty())
        {
            return Err(format!(
                "time_zone: {:?} is not a name like Europe/Berlin",
                self.time_zone
            ));
        }
        for pattern in &self.remove {
            if pattern.starts_with('/') || pattern.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(format!(
                    "remove: {pattern:?} is not a path within the image, like usr/share/games"
                ));
            }
        }
        Ok(())
    }
}

/// Every requirement has an exact version and a hash: what a registry sends decides nothing.
fn check_requirements(text: &str) -> Result<(), String> {
    for requirement in text.replace("\\\n", " ").lines().map(str::trim) {
        if requirement.is_empty() || requirement.starts_with('#') {
            continue;
        }
        if requirement.starts_with('-') {
            return Err(format!("{requirement:?}: options are not taken from a lock file"));
        }
        if !requirement.contains("==") || !requirement.contains("--hash=sha256:") {
            return Err(format!(
                "{requirement:?} needs an exact version and its hashes: sandbox-images/lock or `pip-compile --generate-hashes` writes them"
            ));
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<String, DefinitionError> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|source| DefinitionError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "[base]\nsuite = \"bookworm\"\n";

    #[test]
    fn the_definitions_that_brig_brings_along_are_right() {
        for name in Definition::built_in() {
            let definition = Definition::find(name).unwrap();
            assert_eq!(definition.name, name);
            assert!(definition.recipe.packages.contains(&"python3".to_owned()));
            assert!(definition.recipe.packages.contains(&"tzdata".to_owned()));
        }
        let data = Definition::find("python-data").unwrap();
        for library in [
            "numpy==",
            "pandas==",
            "scikit-learn==",
            "pyarrow==",
            "beautifulsoup4==",
        ] {
            assert!(data.requirements.contains(library), "{library}");
        }
        let plain = Definition::find("python").unwrap();
        assert_eq!(plain.recipe.packages, data.recipe.packages, "one base for both");
    }

    #[test]
    fn a_folder_is_a_definition_with_its_name() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("mine");
        std::fs::create_dir(&folder).unwrap();
        let missing = Definition::find(folder.to_str().unwrap()).unwrap_err();
        assert!(missing.to_string().contains("image.toml"), "{missing}");
        std::fs::write(folder.join("image.toml"), SMALL).unwrap();
        let found = Definition::find(folder.to_str().unwrap()).unwrap();
        assert_eq!(
            (found.name.as_str(), found.recipe.locale.as_str()),
            ("mine", "C.UTF-8")
        );
        let unknown = Definition::find("mine").unwrap_err().to_string();
        assert!(unknown.contains("./mine"), "{unknown}");
    }

    #[test]
    fn a_wrong_definition_is_refused_with_the_field() {
        for (text, word) in [
            ("", "base"),
            ("[base]\nsuite = \"x\"\ntypo = 1\n", "typo"),
            ("packages = [\"a b\"]\n[base]\nsuite = \"x\"\n", "packages"),
            ("packages = [\"--force\"]\n[base]\nsuite = \"x\"\n", "packages"),
            (
                "time_zone = \"../../etc/shadow\"\n[base]\nsuite = \"x\"\n",
                "time_zone",
            ),
            ("remove = [\"../x\"]\n[base]\nsuite = \"x\"\n", "remove"),
            ("remove = [\"/etc\"]\n[base]\nsuite = \"x\"\n", "remove"),
        ] {
            let error = Definition::parse("mine", text, "", "").unwrap_err().to_string();
            assert!(
                error.contains(word) && error.contains("mine/image.toml"),
                "{error}"
            );
        }
    }

    #[test]
    fn requirements_without_hashes_are_refused() {
        for lock in [
            "numpy\n",
            "numpy==1.0\n",
            "numpy --hash=sha256:00\n",
            "--index-url http://elsewhere\n",
            "-r more.txt\n",
        ] {
            assert!(Definition::parse("mine", SMALL, lock, "").is_err(), "{lock}");
        }
        let right = "# made\nnumpy==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n";
        assert!(Definition::parse("mine", SMALL, right, "").is_ok());
    }
}
