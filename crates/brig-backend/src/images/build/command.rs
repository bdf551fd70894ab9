//! The programs that a build needs (debootstrap, apt, pip), each in mount and process namespaces of its own: what a build
//! that was interrupted had mounted and started is gone with it.

use super::{BuildError, Progress};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How much of what a program said comes with the news of its failure.
const TAIL_LINES: usize = 15;

/// Runs a command in a root file system that has what programs expect: a `/proc`, the harmless devices, a `/tmp`, and the
/// build's own files at `/mnt`.
const ENTER: &str = r#"
set -e
root=$1 inputs=$2 wheels=$3
shift 3
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom tty; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir -m 1777 "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount --bind "$inputs" "$root/mnt"
mount --bind "$wheels" "$root/mnt/wheels"
cd /
exec chroot "$root" "$@"
"#;

/// Whether a program may reach the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    /// Downloads: signatures and hashes decide about what comes.
    Reachable,
    /// Everything that runs what was downloaded.
    None,
}

/// Where the output of a build's programs goes.
#[derive(Debug)]
pub(super) struct Shop<'a> {
    pub(super) log: PathBuf,
    pub(super) progress: &'a dyn Progress,
}

impl Shop<'_> {
    /// Runs a program of the host.
    pub(super) fn host(&self, argv: &[&OsStr]) -> Result<(), BuildError> {
        let mut command = isolated(Network::Reachable);
        command.args(argv);
        self.run(command, argv)
    }

    /// Runs a program of the image, as root of that root file system. The places are: it, the build's files, the wheels.
    pub(super) fn inside(
        &self,
        places: [&Path; 3],
        network: Network,
        argv: &[&str],
    ) -> Result<(), BuildError> {
        let mut command = isolated(network);
        command.args(["sh", "-c", ENTER, "enter"]).args(places).args(argv);
        command.env("HOME", "/tmp");
        // The machine's own list of authorities, one place for every program that downloads.
        for name in ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
            command.env(name, "/mnt/authorities.crt");
        }
        let argv: Vec<&OsStr> = argv.iter().map(OsStr::new).collect();
        self.run(command, &argv)
    }

    fn run(&self, mut command: Command, argv: &[&OsStr]) -> Result<(), BuildError> {
        let what = argv
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        let failed = |source| BuildError::Start {
            what: what.clone(),
            source,
        };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer);
        let mut child = command.spawn().map_err(failed)?;
        // The ends that this process has of the pipe, without which it never ends.
        drop(command);
        let tail = self.follow(reader, &what).map_err(failed)?;
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        Err(BuildError::Command {
            what: shortened(argv),
            status: status.to_string(),
            tail: tail.into_iter().collect::<Vec<_>>().join("\n"),
            log: self.log.clone(),
        })
    }

    fn follow(&self, reader: impl std::io::Read, what: &str) -> std::io::Result<VecDeque<String>> {
        let mut log = File::options().create(true).append(true).open(&self.log)?;
        writeln!(log, "+ {what}")?;
        let mut tail = VecDeque::new();
        for line in BufReader::new(reader).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
            writeln!(log, "{line}")?;
            self.progress.line(&line);
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
        }
        Ok(tail)
    }
}

/// A shell script among the arguments says nothing to a person.
fn shortened(argv: &[&OsStr]) -> String {
    let words = argv.iter().map(|word| word.to_string_lossy());
    let words = words.filter(|word| !word.contains('\n') && word != "sh" && word != "-c");
    words.collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

/// A program that unpacks what comes on its input.
pub(in crate::images) fn decompressor(program: &'static str) -> std::io::Result<Child> {
    let mut command = program_named(program);
    let command = command.arg("-dc").env_clear().env("PATH", "/usr/bin:/bin");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    piped.stderr(Stdio::null()).spawn()
}

fn program_named(program: &str) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place in this crate where processes start: what builds an image, at the operator's own command"
    )]
    Command::new(program)
}

fn isolated(network: Network) -> Command {
    // `unshare` ends its programs when it ends itself; `setpriv` sees to it that it ends with this process.
    let mut command = program_named("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare"]);
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--propagation",
        "private",
    ]);
    if network == Network::None {
        command.arg("--net");
    }
    command.arg("--").env_clear();
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command
        .env("LC_ALL", "C.UTF-8")
        .env("PYTHONHASHSEED", "0")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("SOURCE_DATE_EPOCH", "946684800")
        // Debian's pip would rather have a virtual environment; an image is one.
        .env("PIP_BREAK_SYSTEM_PACKAGES", "1")
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Which registry, and the way to it.
const PASSED_ON: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
];
