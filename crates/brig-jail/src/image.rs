//! The host image: the host's own interpreter and libraries, read-only, and nothing that tells who uses the host.

use crate::keeper::HostImage;
use crate::plan::{AGENT_ID, ImageEntry};
use std::path::{Component, Path, PathBuf};

/// The host name inside every cell.
pub(crate) const HOST_NAME: &str = "cell";

/// Top-level places of programs and libraries: directories on some hosts, links into `/usr` on others.
const SYSTEM: [&str; 8] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
];

/// What programs look up in `/etc` and that is the same on every host of a kind. No host name, no user, no
/// resolver, no key: `/etc/ssl/private` for one stays outside.
const CONFIGURATION: [&str; 19] = [
    "alternatives",
    "debian_version",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "magic",
    "magic.mime",
    "mime.types",
    "os-release",
    "perl",
    "protocols",
    "rpc",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// The entries of the host image, in mount order. Places that this host does not have are left out.
#[must_use]
pub(crate) fn plan_host_image(image: &HostImage) -> Vec<ImageEntry> {
    let mut entries: Vec<ImageEntry> = SYSTEM
        .iter()
        .filter_map(|path| plan_system(Path::new(path)))
        .collect();
    entries.extend(plan_configuration(Path::new("/etc")));
    entries.extend(identity_files());
    entries.extend(devices());
    entries.extend(plan_extra(image));
    entries
}

/// The device nodes of every cell: the host's own.
pub(crate) fn devices() -> impl Iterator<Item = ImageEntry> {
    DEVICES.iter().map(|name| {
        let path = Path::new("/dev").join(name);
        ImageEntry::Device {
            source: path.clone(),
            target: path,
        }
    })
}

/// A directory is bound; a link (merged `/usr`) is made again.
fn plan_system(path: &Path) -> Option<ImageEntry> {
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    if kind.is_symlink() {
        let points_to = std::fs::read_link(path).ok()?;
        return Some(ImageEntry::Symlink {
            link: path.to_owned(),
            points_to,
        });
    }
    kind.is_dir().then(|| bind(path))
}

fn plan_configuration(etc: &Path) -> Vec<ImageEntry> {
    let fixed = CONFIGURATION.iter().map(|name| etc.join(name));
    // Debian keeps a directory per version of an interpreter.
    let versioned = names_in(etc).filter(|name| name.starts_with("python3") || name.starts_with("java-"));
    let places = fixed.chain(versioned.map(|name| etc.join(name)));
    places
        .filter(|path| path.exists())
        .map(|path| bind(&path))
        .collect()
}

fn names_in(directory: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn bind(path: &Path) -> ImageEntry {
    ImageEntry::ReadOnlyBind {
        source: path.to_owned(),
        target: path.to_owned(),
    }
}

/// Files of `/etc` that name users and hosts, the same in every cell: name and content. Images that are built bring them along.
#[must_use]
pub fn identity() -> [(&'static str, String); 8] {
    let passwd = format!(
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n\
         agent:x:{AGENT_ID}:{AGENT_ID}:agent:/workspace:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let group = format!("root:x:0:\ntty:x:5:\nagent:x:{AGENT_ID}:\nnogroup:x:65534:\n");
    let hosts = format!("127.0.0.1 localhost {HOST_NAME}\n::1 localhost ip6-localhost\n");
    [
        ("passwd", passwd),
        ("group", group),
        ("hosts", hosts),
        ("hostname", format!("{HOST_NAME}\n")),
        // Loopback only: a look-up fails at once instead of waiting for a server that cannot be reached.
        ("resolv.conf", String::new()),
        ("host.conf", "multi on\n".to_owned()),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n".to_owned(),
        ),
        ("timezone", "Etc/UTC\n".to_owned()),
    ]
}

/// They are written anew in every cell.
fn identity_files() -> Vec<ImageEntry> {
    identity()
        .into_iter()
        .map(|(name, content)| ImageEntry::File {
            target: Path::new("/etc").join(name),
            content,
        })
        .collect()
}

/// The interpreter, where it is outside of the system's places, and what the operator added.
fn plan_extra(image: &HostImage) -> Vec<ImageEntry> {
    let mut places: Vec<PathBuf> = image.read_only.clone();
    places.extend(interpreter_prefixes(&image.python));
    let mut planned: Vec<PathBuf> = Vec::new();
    for place in places {
        let covered = in_system(&place) || planned.iter().any(|other| place.starts_with(other));
        if !covered && is_plain(&place) && place.exists() {
            planned.push(place);
        }
    }
    planned.iter().map(|place| bind(place)).collect()
}

/// `PREFIX/bin/python3`: the prefix as named (a virtual environment) and the one that its links lead to.
fn interpreter_prefixes(python: &Path) -> Vec<PathBuf> {
    let prefix = |path: &Path| {
        let bin = path.parent()?;
        (bin.file_name()? == "bin")
            .then(|| bin.parent().map(Path::to_owned))
            .flatten()
    };
    let real = std::fs::canonicalize(python).ok();
    let prefixes = [prefix(python), real.as_deref().and_then(prefix)];
    // A whole root or home as a prefix would show everything in it.
    prefixes
        .into_iter()
        .flatten()
        .filter(|prefix| prefix.components().count() > 2)
        .collect()
}

fn in_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// What every cell has of its own: nothing of the host is shown there.
const OWN: [&str; 6] = ["/proc", "/dev", "/tmp", "/workspace", "/sys", "/etc"];

/// Absolute, without `..`, and not in one of the places that every cell has of its own.
fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path.components().count() > 1
        && !path
            .components()
            .any(|component| component == Component::ParentDir)
        && own_place(path).is_none()
}

fn own_place(path: &Path) -> Option<&'static str> {
    OWN.into_iter().find(|place| path.starts_with(place))
}

/// A path of the operator's that cells cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum HostImageError {
    /// Nothing is there, or nobody may look.
    #[error("{path}")]
    Look {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// In a place that every cell has of its own.
    #[error(
        "{path} is in {place}, of which every cell has its own: move it, for example to /opt or /srv or below a home"
    )]
    OwnPlace {
        /// Which.
        path: PathBuf,
        /// The cell's own place.
        place: &'static str,
    },
    /// The root, or with `..` in it.
    #[error("{path} is not a plain path: name a directory below the root, without `..`")]
    NotPlain {
        /// Which.
        path: PathBuf,
    },
    /// An interpreter whose files are not known from its path.
    #[error("{path} is not PREFIX/bin/NAME: name the interpreter in the `bin` of its environment")]
    NoPrefix {
        /// Which.
        path: PathBuf,
    },
}

/// Whether cells can be shown what the operator named. What this process itself cannot see is refused here, what
/// only the users of cells cannot enter when a cell is built.
///
/// # Errors
/// The first path that is wrong.
pub fn check_host_image(image: &HostImage) -> Result<(), HostImageError> {
    for path in &image.read_only {
        check_place(path)?;
    }
    let python = &image.python;
    if in_system(python) {
        return look(python);
    }
    check_place(python)?;
    if interpreter_prefixes(python).is_empty()
        && !image.read_only.iter().any(|place| python.starts_with(place))
    {
        return Err(HostImageError::NoPrefix { path: python.clone() });
    }
    Ok(())
}

fn check_place(path: &Path) -> Result<(), HostImageError> {
    let path = path.to_owned();
    match own_place(&path) {
        Some(place) => Err(HostImageError::OwnPlace { path, place }),
        None if !is_plain(&path) => Err(HostImageError::NotPlain { path }),
        None => look(&path),
    }
}

fn look(path: &Path) -> Result<(), HostImageError> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(source) => Err(HostImageError::Look {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(read_only: &[&str]) -> HostImage {
        let read_only = read_only.iter().map(PathBuf::from).collect();
        HostImage {
            python: PathBuf::from("/usr/bin/python3"),
            read_only,
        }
    }

    fn targets(entries: &[ImageEntry]) -> Vec<&Path> {
        entries
            .iter()
            .map(|entry| match entry {
                ImageEntry::ReadOnlyBind { target, .. }
                | ImageEntry::Device { target, .. }
                | ImageEntry::File { target, .. }
                | ImageEntry::Directory { target } => target.as_path(),
                ImageEntry::Symlink { link, .. } => link.as_path(),
            })
            .collect()
    }

    #[test]
    fn the_image_shows_no_home_no_secret_and_no_host_file() {
        let entries = plan_host_image(&host(&[]));
        for hidden in [
            "/home",
            "/root",
            "/etc/shadow",
            "/etc",
            "/etc/ssl",
            "/var",
            "/run",
            "/sys",
            "/proc",
        ] {
            assert!(!targets(&entries).contains(&Path::new(hidden)), "{hidden}");
        }
        assert!(targets(&entries).contains(&Path::new("/usr")));
    }

    #[test]
    fn users_and_hosts_are_written_anew() {
        let entries = plan_host_image(&host(&[]));
        let passwd = entries.iter().find_map(|entry| {
            let ImageEntry::File { target, content } = entry else {
                return None;
            };
            (target == Path::new("/etc/passwd")).then_some(content)
        });
        assert!(passwd.is_some_and(|content| content.contains("agent:x:10001:10001:")));
    }

    #[test]
    fn an_operators_environment_is_bound_at_its_own_path_once() {
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        let inner = place.path().join("lib");
        std::fs::create_dir(&inner).unwrap();
        let paths = [
            place.path().to_str().unwrap(),
            inner.to_str().unwrap(),
            "/usr/lib",
            "relative",
            "/",
        ];
        let entries = plan_extra(&host(&paths));
        assert_eq!(entries, vec![bind(place.path())]);
    }

    #[test]
    fn what_cells_cannot_be_shown_is_refused_by_name() {
        let refused = |python: &str, read_only: &[&str]| {
            let image = HostImage {
                python: PathBuf::from(python),
                ..host(read_only)
            };
            check_host_image(&image).map_err(|error| error.to_string())
        };
        let fine = tempfile::tempdir_in("/var/tmp").unwrap();
        let fine = fine.path().to_str().unwrap();
        assert_eq!(refused("/usr/bin/python3", &[fine]), Ok(()));
        for (python, read_only, word) in [
            (
                "/opt/no/such/venv/bin/python3",
                "/usr",
                "/opt/no/such/venv/bin/python3",
            ),
            ("/usr/bin/python3", "/no/such/place", "/no/such/place"),
            ("/tmp/venv/bin/python3", "/usr", "is in /tmp"),
            ("/usr/bin/python3", "/etc/ssl/private", "is in /etc"),
            ("/usr/bin/python3", "/", "not a plain path"),
            ("/usr/bin/python3", "/srv/../root", "not a plain path"),
        ] {
            let error = refused(python, &[read_only]).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        let script = Path::new(fine).join("python3");
        std::fs::write(&script, "").unwrap();
        let error = refused(script.to_str().unwrap(), &[]).unwrap_err();
        assert!(error.contains("PREFIX/bin"), "{error}");
        assert_eq!(refused(script.to_str().unwrap(), &[fine]), Ok(()));
    }

    #[test]
    fn a_virtual_environment_brings_its_prefix_but_never_a_whole_top_level_directory() {
        assert_eq!(
            interpreter_prefixes(Path::new("/srv/venvs/one/bin/python3")),
            [PathBuf::from("/srv/venvs/one")]
        );
        assert_eq!(
            interpreter_prefixes(Path::new("/home/bin/python3")),
            Vec::<PathBuf>::new()
        );
    }
}
