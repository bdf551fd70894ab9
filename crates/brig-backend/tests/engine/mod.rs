//! A broker for tests: the example program of this crate, in a process of its own, and an image with a shell for it.

use brig_backend::docker::broker::BrokerConfig;
use brig_backend::docker::protocol::{
    BackendName, ContainerFacts, ContainerReceipt, How, ProtocolError, Reply, Request, RootDigest, WhyGone,
    receive, send,
};
use brig_backend::images::{ImageLimits, ImageMeta, ImageStore, tar};
use brig_core::limits::Bytes;
use brig_core::time::Timestamp;
use brig_jail::protocol::CellLimits;
use brig_jail::record::{RecordError, RecordSocket};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The longest that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// In the place of Brig's own init: does what its input says, and ends with it.
pub(crate) const INIT: &str = "#!/bin/sh\necho ready\nwhile read -r line; do eval \"$line\"; done\n";

/// The image and the program `engine_broker`, made once for a test.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) digest: RootDigest,
    pub(crate) instance: String,
}

impl Place {
    /// `None`, with the reason on stderr, where it cannot be made.
    pub(crate) fn new(name: &str) -> Option<Place> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let Some(digest) = image(&directory.path().join("images")) else {
            eprintln!("SKIPPED {name}: there is no static busybox to make an image of");
            return None;
        };
        let init = directory.path().join("init");
        std::fs::write(&init, INIT).unwrap();
        Some(Place {
            directory,
            digest,
            instance: format!("test-{name}-{}", std::process::id()),
        })
    }

    pub(crate) fn config(&self, engine: &Path) -> BrokerConfig {
        let mut config = BrokerConfig::new(self.instance.clone(), vec![self.directory.path().join("images")]);
        config.socket = engine.to_owned();
        config
    }
}

/// An image that holds a shell.
fn image(store: &Path) -> Option<RootDigest> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
    let busybox = busybox.iter().find(|path| path.exists())?;
    let store = ImageStore::open(store).unwrap();
    let root = store.begin().unwrap();
    let path = root.path();
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp", "workspace"] {
        std::fs::create_dir(path.join(directory)).unwrap();
    }
    std::fs::copy(busybox, path.join("bin/busybox")).unwrap();
    std::fs::set_permissions(path.join("bin/busybox"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in [
        "sh", "cat", "ls", "id", "sleep", "mount", "dd", "env", "hostname", "head", "sed", "kill", "grep",
        "wget",
    ] {
        std::os::unix::fs::symlink("busybox", path.join("bin").join(name)).unwrap();
    }
    std::fs::write(path.join("etc/hosts"), "127.0.0.1 localhost cell\n").unwrap();
    std::fs::write(path.join("etc/resolv.conf"), "").unwrap();
    let digest = tar::digest_root(path).unwrap();
    let meta = ImageMeta {
        name: "broker-test".to_owned(),
        digest,
        python: "/bin/sh".to_owned(),
        env: BTreeMap::new(),
        preload: Vec::new(),
        limits: ImageLimits::default(),
        created: Timestamp::now(),
        base: "busybox".to_owned(),
        size_bytes: Bytes(0),
        packages: Vec::new(),
    };
    Some(store.publish(root, &meta).unwrap().meta.digest)
}

/// The daemon's side of a broker.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) socket: RecordSocket,
    /// Replies that came while another one was waited for.
    pub(crate) early: Vec<Reply>,
    next: u64,
}

/// A cell, and its wire.
pub(crate) struct Cell {
    pub(crate) number: u64,
    pub(crate) how: How,
    pub(crate) receipt: ContainerReceipt,
    pub(crate) wire: BufReader<UnixStream>,
}

/// The program, built beside the tests by a build of the workspace; after a build of this crate alone it is made here.
fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let program = here
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/engine_broker");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "-p",
            "brig-backend",
            "--example",
            "engine_broker",
        ])
        .status();
    assert!(
        built.unwrap().success(),
        "the broker of the tests cannot be built"
    );
    program
}

pub(crate) fn backend() -> BackendName {
    BackendName::try_from("docker".to_owned()).unwrap()
}

impl Daemon {
    pub(crate) fn start(config: &BrokerConfig, init: &Path) -> Daemon {
        let (broker, daemon) = RecordSocket::pair().unwrap();
        let child = Command::new(program())
            .arg(serde_json::to_string(config).unwrap())
            .arg(init)
            .stdin(Stdio::from(broker.into_inner()))
            .spawn()
            .unwrap();
        let mut daemon = Daemon {
            child,
            socket: daemon,
            early: Vec::new(),
            next: 1,
        };
        assert_eq!(
            daemon.until(|reply| matches!(reply, Reply::Hello { .. })).0,
            Reply::Hello { version: 1 }
        );
        daemon
    }

    pub(crate) fn say(&self, request: &Request) {
        send(&self.socket, request, None).unwrap();
    }

    /// The next reply of which this holds, with its descriptor.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Reply) -> bool) -> (Reply, Option<std::os::fd::OwnedFd>) {
        if let Some(at) = self.early.iter().position(&wanted) {
            return (self.early.remove(at), None);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match receive::<Reply>(&self.socket) {
                Ok((reply, descriptor)) if wanted(&reply) => return (reply, descriptor),
                Ok((reply, _)) => self.early.push(reply),
                Err(ProtocolError::Record(RecordError::NotReady)) => wait(&self.socket),
                Err(error) => panic!("{error}; before that: {:#?}", self.early),
            }
        }
        panic!("no such reply, but {:#?}", self.early);
    }

    pub(crate) fn open_with(
        &mut self,
        place: &Place,
        limits: CellLimits,
        fresh: bool,
    ) -> Result<Cell, Box<Reply>> {
        self.next += 1;
        let number = self.next;
        self.say(&Request::Open {
            request: number,
            image: place.digest,
            backend: backend(),
            limits,
            job: Uuid::now_v7(),
            fresh,
        });
        let answer = self.until(|reply| {
            matches!(reply, Reply::Opened { request, .. } | Reply::Refused { request, .. } if *request == number)
        });
        match answer {
            (
                Reply::Opened {
                    cell, how, receipt, ..
                },
                Some(wire),
            ) => {
                let wire = UnixStream::from(wire);
                wire.set_nonblocking(false).unwrap();
                wire.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut cell = Cell {
                    number: cell,
                    how,
                    receipt,
                    wire: BufReader::new(wire),
                };
                assert_eq!(cell.line(), "ready");
                Ok(cell)
            }
            (other, _) => Err(Box::new(other)),
        }
    }

    pub(crate) fn open(&mut self, place: &Place) -> Cell {
        self.open_with(place, CellLimits::DEFAULT, false).unwrap()
    }

    pub(crate) fn gone(&mut self, number: u64) -> (WhyGone, ContainerFacts) {
        let gone = |reply: &Reply| matches!(reply, Reply::Gone { cell, .. } if *cell == number);
        let Reply::Gone { why, facts, .. } = self.until(gone).0 else {
            unreachable!("only such a reply is waited for");
        };
        (why, facts)
    }

    pub(crate) fn facts(&mut self, number: u64) -> ContainerFacts {
        self.say(&Request::Facts { cell: number });
        let wanted = |reply: &Reply| matches!(reply, Reply::Facts { cell, .. } if *cell == number);
        let Reply::Facts { facts, .. } = self.until(wanted).0 else {
            unreachable!("only such a reply is waited for");
        };
        facts
    }

    pub(crate) fn release(&mut self, number: u64) {
        self.say(&Request::Release { cell: number });
        self.until(|reply| *reply == Reply::Released { cell: number });
    }

    /// Closes the daemon's end and waits for the broker's own end.
    pub(crate) fn end(mut self) {
        drop(self.socket);
        self.child.wait().unwrap();
    }
}

impl Cell {
    /// The next line that the container writes.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.wire.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// What a command in the container writes.
    pub(crate) fn sh(&mut self, command: &str) -> String {
        writeln!(self.wire.get_ref(), "{command}; echo; echo =end=").unwrap();
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            if line == "=end=" {
                return lines.join("\n").trim().to_owned();
            }
            lines.push(line);
        }
    }

    /// Without an answer.
    pub(crate) fn send(&self, command: &str) {
        writeln!(self.wire.get_ref(), "{command}").unwrap();
    }
}

fn wait(socket: &RecordSocket) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut one = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut one, PollTimeout::from(100_u16)).unwrap();
}

/// The engine, asked as a person would.
pub(crate) struct Engine(pub(crate) PathBuf);

impl Engine {
    /// The engine of the environment; `None`, with the reason on stderr, where there is none.
    pub(crate) fn of_the_tests(name: &str) -> Option<Engine> {
        match std::env::var_os("BRIG_TESTS_ENGINE") {
            Some(socket) => Some(Engine(PathBuf::from(socket))),
            None => {
                eprintln!(
                    "SKIPPED {name}: BRIG_TESTS_ENGINE names no engine's socket (`tests/engine start`)"
                );
                None
            }
        }
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        let done = Command::new("docker")
            .arg("--host")
            .arg(format!("unix://{}", self.0.display()))
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "docker {arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// The containers of a place, running or not.
    pub(crate) fn containers(&self, place: &Place) -> Vec<String> {
        let filter = format!("label=dev.brig.instance={}", place.instance);
        let all = self.docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]);
        all.lines().map(str::to_owned).collect()
    }

    /// Waits until no container of a place is left.
    pub(crate) fn until_none(&self, place: &Place) {
        until(|| self.containers(place).is_empty(), "containers are left");
    }
}

/// Waits until something holds.
pub(crate) fn until(holds: impl Fn() -> bool, otherwise: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{otherwise}");
        std::thread::yield_now();
    }
}
