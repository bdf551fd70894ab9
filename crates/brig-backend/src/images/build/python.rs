//! Python's packages: downloaded with a network, checked by their hashes, installed and compiled without one.

use super::BuildError;
use super::base::make_private;
use super::command::{Network, Shop};
use crate::images::Definition;
use crate::images::beneath::{make_directory, write_file};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// Runs pip: the image's own where it has one, else the one that the base lends.
const PIP: &str = r#"
set -e
python=$1
shift
if "$python" -m pip --version >/dev/null 2>&1; then
  exec "$python" -m pip "$@"
fi
for pip in /usr/share/python-wheels/pip-*.whl; do
  [ ! -e "$pip" ] || exec "$python" "$pip/pip" "$@"
done
echo "the image has no pip: add the package python3-pip to its definition" >&2
exit 1
"#;

/// Compiles every module of the libraries. The byte code must not depend on times (the files have others in a cell), on the
/// order in which a directory lists its names, nor on what was compiled before in the same process (`marshal` marks what
/// is referred to twice): so it says no time, and every folder of modules is compiled by a process of its own, in order.
const COMPILE: &str = r#"
import compileall, multiprocessing, os, py_compile, sys

def compile_folder(folder):
    names = sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path):
            # Tests of syntax errors and templates do not compile, which is no failure.
            compileall.compile_file(path, quiet=2, force=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)

def folders():
    for place in sorted(set(sys.argv[1:])):
        for folder, below, _ in os.walk(place):
            below.sort()
            yield folder

if __name__ == "__main__":
    sys.dont_write_bytecode = False
    with multiprocessing.get_context("fork").Pool(maxtasksperchild=1) as pool:
        for _ in pool.imap_unordered(compile_folder, sorted(folders()), chunksize=1):
            pass
"#;

/// Where machines keep the authorities that they trust.
const AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The build's own files, seen by the image at `/mnt` while it is built.
#[derive(Debug)]
pub(super) struct Inputs {
    place: tempfile::TempDir,
    /// In the cache: what is downloaded stays.
    wheels: PathBuf,
    has_requirements: bool,
    has_after: bool,
}

impl Inputs {
    pub(super) fn lay_out(cache: &Path, definition: &Definition) -> Result<Self, BuildError> {
        let place = tempfile::Builder::new()
            .prefix("brig-image-")
            .tempdir()
            .map_err(BuildError::io("make a directory in", std::env::temp_dir()))?;
        let write = |name: &str, content: &[u8]| {
            write_file(place.path(), name, content).map_err(BuildError::io("write", place.path().join(name)))
        };
        write("requirements.lock", definition.requirements.as_bytes())?;
        write("after.py", definition.after.as_bytes())?;
        write("compile.py", COMPILE.as_bytes())?;
        write("authorities.crt", &authorities())?;
        make_private(&place.path().join("wheels"))?;
        let digest: [u8; 32] = Sha256::digest(definition.requirements.as_bytes()).into();
        let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let wheels = cache.join("wheels");
        make_private(&wheels)?;
        let wheels = wheels.join(format!("{hex}-{}", std::env::consts::ARCH));
        make_private(&wheels)?;
        Ok(Self {
            has_requirements: !definition.requirements.is_empty(),
            has_after: !definition.after.is_empty(),
            place,
            wheels,
        })
    }
}

/// A root file system in which the build's programs run.
#[derive(Debug)]
pub(super) struct Room<'a> {
    shop: &'a Shop<'a>,
    root: &'a Path,
    inputs: &'a Path,
    wheels: &'a Path,
}

impl<'a> Room<'a> {
    /// What programs expect to be directories is made so: a base that is not ours may have links there.
    pub(super) fn enter(shop: &'a Shop<'a>, root: &'a Path, inputs: &'a Inputs) -> Result<Self, BuildError> {
        for directory in ["proc", "dev", "tmp", "mnt", "etc", "usr"] {
            make_directory(root, directory).map_err(BuildError::io("make", root.join(directory)))?;
        }
        Ok(Self {
            shop,
            root,
            inputs: inputs.place.path(),
            wheels: &inputs.wheels,
        })
    }

    pub(super) fn shop(&self) -> &Shop<'a> {
        self.shop
    }

    pub(super) fn root(&self) -> &Path {
        self.root
    }

    pub(super) fn run(&self, network: Network, argv: &[&str]) -> Result<(), BuildError> {
        self.shop
            .inside([self.root, self.inputs, self.wheels], network, argv)
    }
}

/// The list that this machine goes by; empty where there is none.
fn authorities() -> Vec<u8> {
    let named = ["PIP_CERT", "SSL_CERT_FILE"]
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from);
    named
        .chain(AUTHORITIES.iter().map(PathBuf::from))
        .find_map(|path| std::fs::read(path).ok())
        .unwrap_or_default()
}

/// The host's way to find a server. Replaced at the end by what every cell has.
pub(super) fn lend_network(root: &Path) -> Result<(), BuildError> {
    for file in ["etc/resolv.conf", "etc/hosts"] {
        let host = Path::new("/").join(file);
        if let Ok(content) = std::fs::read(&host) {
            write_file(root, file, &content).map_err(BuildError::io("write", root.join(file)))?;
        }
    }
    Ok(())
}

/// The locked packages, then `after.py`.
pub(super) fn install(room: &Room, inputs: &Inputs, python: &str) -> Result<(), BuildError> {
    if inputs.has_requirements {
        download(room, inputs, python)?;
        room.shop.progress.step("Installing Python's packages");
        let offline = [
            "--no-index",
            "--find-links=/mnt/wheels",
            "--no-compile",
            "--no-warn-script-location",
        ];
        pip(room, Network::None, python, ("install", &offline))?;
    }
    if inputs.has_after {
        room.shop.progress.step("Running after.py");
        room.run(Network::None, &[python, "/mnt/after.py"])?;
    }
    if room.root.join("usr/share/python-wheels").is_dir() {
        // Lent by the base.
        let purge = "dpkg --purge --force-depends python3-pip-whl >/dev/null";
        room.run(Network::None, &["sh", "-c", purge])?;
    }
    Ok(())
}

fn download(room: &Room, inputs: &Inputs, python: &str) -> Result<(), BuildError> {
    let complete = inputs.wheels.join(".complete");
    if complete.exists() {
        room.shop.progress.line(&format!(
            "the wheels are in the cache: {}",
            inputs.wheels.display()
        ));
        return Ok(());
    }
    room.shop.progress.step("Downloading Python's packages");
    lend_network(room.root)?;
    pip(
        room,
        Network::Reachable,
        python,
        ("download", &["--dest=/mnt/wheels"]),
    )?;
    std::fs::write(&complete, b"").map_err(BuildError::io("write", &complete))
}

fn pip(
    room: &Room,
    network: Network,
    python: &str,
    (act, options): (&str, &[&str]),
) -> Result<(), BuildError> {
    let mut argv = vec!["sh", "-c", PIP, "pip", python, act];
    argv.extend([
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--requirement=/mnt/requirements.lock",
    ]);
    argv.extend(options);
    room.run(network, &argv)
}

/// Byte code of everything that can be imported.
pub(super) fn compile(room: &Room, python: &str) -> Result<(), BuildError> {
    let libraries = ["/usr/lib", "/usr/local/lib"];
    let names = |library: &str| {
        let entries = std::fs::read_dir(room.root.join(&library[1..]))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with("python3"))
            .collect::<Vec<_>>()
    };
    let places: Vec<String> = libraries
        .iter()
        .flat_map(|library| {
            names(library)
                .into_iter()
                .map(move |name| format!("{library}/{name}"))
        })
        .collect();
    let mut argv = vec![python, "/mnt/compile.py"];
    argv.extend(places.iter().map(String::as_str));
    room.run(Network::None, &argv)
}
