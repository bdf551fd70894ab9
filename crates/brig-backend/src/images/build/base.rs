//! The system below everything else.

use super::command::{Network, Shop};
use super::python::{Inputs, Room, lend_network};
use super::{BaseChoice, BuildError, BuildRequest, CacheUse};
use crate::images::beneath::write_file;
use crate::images::definition::{Base, Recipe};
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Counts up when a base is made in another way, so that older ones in a cache are not used.
const BASE_FORMAT: &str = "1";

/// Signatures of Debian's releases.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Installs packages in the image; the first argument says whether the newest versions of everything are wanted.
const APT: &str = r#"
set -e
# Rights on downloads do not matter here, and the user `_apt` may not exist.
quiet="-qq -y --no-install-recommends -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0"
apt-get $quiet update
apt-get $quiet upgrade
[ "$#" = 0 ] || apt-get $quiet install "$@"
apt-get $quiet clean
"#;

/// Puts the base into `target`; gives its name.
pub(super) fn lay(
    shop: &Shop,
    cache: &Path,
    inputs: &Inputs,
    request: &BuildRequest,
    target: &Path,
) -> Result<String, BuildError> {
    match &request.base {
        BaseChoice::Debootstrap => {
            let recipe = &request.definition.recipe;
            let base = cached_debootstrap(shop, cache, inputs, request)?;
            copy(shop, &base, target)?;
            Ok(format!("debootstrap {}", recipe.base.suite))
        }
        BaseChoice::Unpacked { root, name } => {
            copy(shop, root, target)?;
            Ok(name.clone())
        }
    }
}

/// The packages of the definition in a base that is not ours; ours has them already.
pub(super) fn install_packages(room: &Room, base: &BaseChoice, recipe: &Recipe) -> Result<(), BuildError> {
    let BaseChoice::Unpacked { .. } = base else {
        return Ok(());
    };
    // An official image has its own interpreter in /usr/local, and no second one is wanted beside it. One in /usr/bin is the
    // system's, and may be less than the whole package.
    let own_python = super::finish::find_python(room.root(), recipe.python.as_deref())
        .is_ok_and(|python| !python.starts_with("/usr/bin/"));
    let packages: Vec<&str> = recipe
        .packages
        .iter()
        .map(String::as_str)
        .filter(|package| !(own_python && package.starts_with("python3")))
        .collect();
    apt(room, &packages)
}

fn copy(shop: &Shop, from: &Path, to: &Path) -> Result<(), BuildError> {
    shop.progress.step("Copying the base");
    let contents = from.join(".");
    shop.host(&[
        "cp".as_ref(),
        "--archive".as_ref(),
        "--reflink=auto".as_ref(),
        contents.as_os_str(),
        to.as_os_str(),
    ])
}

fn cached_debootstrap(
    shop: &Shop,
    cache: &Path,
    inputs: &Inputs,
    request: &BuildRequest,
) -> Result<PathBuf, BuildError> {
    let recipe = &request.definition.recipe;
    let bases = cache.join("bases");
    make_private(&bases)?;
    let kept = bases.join(key(recipe));
    if kept.is_dir() && request.cache_use == CacheUse::Reuse {
        shop.progress
            .line(&format!("the base is in the cache: {}", kept.display()));
        return Ok(kept);
    }
    for tool in ["/usr/sbin/debootstrap", "/usr/bin/debootstrap"] {
        if Path::new(tool).exists() {
            let draft = bases.join(format!(".new-{}", uuid::Uuid::now_v7().as_simple()));
            sweep(&bases)?;
            debootstrap(shop, cache, recipe, &draft)?;
            install_in_base(&Room::enter(shop, &draft, inputs)?, recipe)?;
            crate::images::beneath::remove(&kept).map_err(BuildError::io("remove", &kept))?;
            std::fs::rename(&draft, &kept).map_err(BuildError::io("rename a base to", &kept))?;
            return Ok(kept);
        }
    }
    Err(BuildError::NoTool {
        tool: "debootstrap",
        remedy: "`apt-get install debootstrap`, or take an official image of an engine as the base: --base docker:python:3.11-slim-bookworm",
    })
}

/// What interrupted builds left. The store's lock keeps a second build of the same store away; one of another store with
/// the same cache loses its draft and says so.
fn sweep(bases: &Path) -> Result<(), BuildError> {
    let failed = |source| BuildError::io("read", bases)(source);
    for entry in std::fs::read_dir(bases).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(".new-"))
        {
            crate::images::beneath::remove(&path).map_err(BuildError::io("remove", &path))?;
        }
    }
    Ok(())
}

fn debootstrap(shop: &Shop, cache: &Path, recipe: &Recipe, draft: &Path) -> Result<(), BuildError> {
    let base = &recipe.base;
    let packages = cache.join("packages");
    make_private(&packages)?;
    if !Path::new(KEYRING).exists() {
        return Err(BuildError::NoTool {
            tool: "debian-archive-keyring",
            remedy: "without the keys of Debian's releases nobody knows who made the packages: `apt-get install debian-archive-keyring`",
        });
    }
    shop.progress
        .step(&format!("Installing {} with debootstrap", base.suite));
    let mut cache_option = std::ffi::OsString::from("--cache-dir=");
    cache_option.push(&packages);
    let keyring = format!("--keyring={KEYRING}");
    let arguments: [&OsStr; 9] = [
        "debootstrap".as_ref(),
        "--variant=minbase".as_ref(),
        "--force-check-gpg".as_ref(),
        keyring.as_ref(),
        &cache_option,
        "--include=ca-certificates".as_ref(),
        base.suite.as_ref(),
        draft.as_os_str(),
        base.mirror.as_ref(),
    ];
    shop.host(&arguments)
}

fn install_in_base(room: &Room, recipe: &Recipe) -> Result<(), BuildError> {
    let sources = sources_list(&recipe.base);
    let written = write_file(room.root(), "etc/apt/sources.list", sources.as_bytes());
    written.map_err(BuildError::io("write", room.root().join("etc/apt/sources.list")))?;
    let mut packages: Vec<&str> = recipe.packages.iter().map(String::as_str).collect();
    // pip as one file that leaves nothing behind: it is taken out again at the end.
    packages.push("python3-pip-whl");
    apt(room, &packages)
}

fn apt(room: &Room, packages: &[&str]) -> Result<(), BuildError> {
    room.shop().progress.step("Installing packages of the system");
    lend_network(room.root())?;
    let mut argv = vec!["sh", "-c", APT, "apt"];
    argv.extend_from_slice(packages);
    room.run(Network::Reachable, &argv)
}

fn sources_list(base: &Base) -> String {
    let (mirror, suite) = (&base.mirror, &base.suite);
    let mut text = format!("deb {mirror} {suite} main\ndeb {mirror} {suite}-updates main\n");
    if !base.security_mirror.is_empty() {
        text.push_str(&format!("deb {} {suite}-security main\n", base.security_mirror));
    }
    text
}

/// Everything that decides what a base is.
fn key(recipe: &Recipe) -> String {
    let mut packages = recipe.packages.clone();
    packages.sort();
    packages.dedup();
    let base = &recipe.base;
    let mut digest = Sha256::new();
    for part in [
        BASE_FORMAT,
        std::env::consts::ARCH,
        &base.suite,
        &base.mirror,
        &base.security_mirror,
    ]
    .into_iter()
    .chain(packages.iter().map(String::as_str))
    {
        digest.update(part.as_bytes());
        digest.update(b"\0");
    }
    let digest: [u8; 32] = digest.finalize().into();
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hex}", base.suite)
}

pub(super) fn make_private(directory: &Path) -> Result<(), BuildError> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(BuildError::io("make", directory)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_used_again_only_for_the_same_packages_and_places() {
        let recipe = |text: &str| toml::from_str::<Recipe>(text).unwrap();
        let one = key(&recipe(
            "packages = [\"a\", \"b\"]\n[base]\nsuite = \"bookworm\"\n",
        ));
        let same = key(&recipe(
            "packages = [\"b\", \"a\", \"a\"]\nremove = [\"x\"]\n[base]\nsuite = \"bookworm\"\n",
        ));
        assert_eq!(one, same);
        for other in [
            "packages = [\"a\"]\n[base]\nsuite = \"bookworm\"\n",
            "packages = [\"ab\"]\n[base]\nsuite = \"bookworm\"\n",
            "packages = [\"a\", \"b\"]\n[base]\nsuite = \"trixie\"\n",
            "packages = [\"a\", \"b\"]\n[base]\nsuite = \"bookworm\"\nsecurity_mirror = \"\"\n",
        ] {
            assert_ne!(key(&recipe(other)), one, "{other}");
        }
    }
}
