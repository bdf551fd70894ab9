//! A broker that the test plays. Its "containers" are the real first process of one, started as a plain child in
//! namespaces of its own, or whatever the test puts in its place.

use crate::conformance::Subject;
use brig_backend::docker::protocol::{
    BackendName, CgroupLimits, ContainerFacts, ContainerReceipt, EngineName, How, ProtocolError, Reply,
    Request, RootDigest, SeccompReceipt, VERSION, WhyGone, receive, send,
};
use brig_backend::docker::{Broker, Compile, DockerBackend, DockerConfig};
use brig_backend::fake::Step;
use brig_backend::images::{ImageCatalog, ImageLimits, ImageMeta, ImageStore, RootDigest as Root};
use brig_core::backend::Backend;
use brig_core::limits::Bytes;
use brig_core::spec::{BackendName as Name, ImageName, IsolationLevel};
use brig_core::time::Timestamp;
use brig_jail::protocol::CellLimits;
use brig_jail::record::{RecordError, RecordSocket};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;

/// A root of `/usr` and what programs expect around it, then the first process of a container in it. `$1` is init.
const BUILD: &str = r#"
set -e
mount -t tmpfs -o size=64m,mode=755 tmpfs /mnt
cd /mnt
mkdir usr etc dev proc tmp workspace brig
mount --rbind /usr usr
for name in bin sbin lib lib64; do
  if [ -L /$name ]; then ln -s "$(readlink /$name)" $name; elif [ -d /$name ]; then mkdir $name; mount --rbind /$name $name; fi
done
echo 'agent:x:10001:10001::/workspace:/bin/sh' > etc/passwd
for node in null zero urandom; do : > dev/$node; mount --bind /dev/$node dev/$node; done
mount -t tmpfs -o size=16m,mode=700 tmpfs workspace
mount -t proc proc proc
: > brig/init; mount --bind "$1" brig/init
exec chroot . setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all /brig/init --container
"#;

const NAMESPACES: &str = "--user --map-user=10001 --map-group=10001 --keep-caps --fork --mount --net --ipc --uts --pid --kill-child --";

/// What is at the other end of a container's wire.
#[derive(Clone)]
pub enum Container {
    /// The real first process.
    Init,
    /// This, with the stream.
    Played(Arc<dyn Fn(UnixStream) + Send + Sync>),
}

/// What the test decides, and what it sees.
pub struct Script {
    socket: RecordSocket,
    pub container: Mutex<Container>,
    pub facts: Mutex<ContainerFacts>,
    seen: Mutex<Vec<Request>>,
    came: Condvar,
    /// The broker answers nothing: it is as good as dead.
    pub deaf: Mutex<bool>,
}

impl Script {
    /// Says something, asked or not.
    pub fn say(&self, reply: &Reply) {
        self.say_with(reply, None);
    }

    /// The same with a descriptor. A daemon that has gone meanwhile is no fault of the broker.
    fn say_with(&self, reply: &Reply, descriptor: Option<&OwnedFd>) {
        match send(&self.socket, reply, descriptor) {
            Ok(()) | Err(ProtocolError::Record(RecordError::Closed)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub fn play(&self, container: impl Fn(UnixStream) + Send + Sync + 'static) {
        *self.container.lock().unwrap() = Container::Played(Arc::new(container));
    }

    /// Waits for a request that looks like this.
    pub fn until(&self, look: impl Fn(&Request) -> bool) -> Request {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(found) = seen.iter().find(|request| look(request)) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody asked for it: {seen:?}");
            seen = self.came.wait_timeout(seen, left).unwrap().0;
        }
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    pub fn saw(&self, look: impl Fn(&Request) -> bool) -> bool {
        self.seen.lock().unwrap().iter().any(look)
    }
}

/// An engine without an engine.
pub struct Scripted {
    pub backend: DockerBackend,
    pub script: Arc<Script>,
    thread: std::thread::JoinHandle<()>,
    _images: tempfile::TempDir,
}

impl Subject for Scripted {
    fn backend(&self) -> &dyn Backend {
        &self.backend
    }
    fn level(&self) -> IsolationLevel {
        IsolationLevel::Strict
    }
    fn place(&self) -> (Name, ImageName) {
        (Name::docker(), ImageName("python".to_owned()))
    }
    fn script(&self, _steps: Vec<Step>) {}
}

/// Built beside the tests by a build of the workspace; after a build of this crate alone it is made here.
pub fn init() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let init = here.parent()?.parent()?.join("brig-jail-init");
    if !init.exists() {
        let build = ["build", "--quiet", "-p", "brig-jail", "--bin", "brig-jail-init"];
        let built = Command::new(env!("CARGO")).args(build).status();
        if !built.is_ok_and(|status| status.success()) {
            return None;
        }
    }
    init.exists().then_some(init)
}

/// Whether a container can be put together here at all.
fn namespaces_work() -> bool {
    let mut probe = Command::new("unshare");
    probe
        .args(NAMESPACES.split(' '))
        .args(["setpriv", "--no-new-privs", "true"]);
    let probed = probe.stderr(Stdio::null()).status();
    probed.is_ok_and(|status| status.success())
}

fn contain(init: &Path) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new("unshare")
        .args(NAMESPACES.split(' '))
        .args(["/bin/sh", "-c", BUILD, "sh"])
        .arg(init)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(OwnedFd::from(theirs.try_clone().unwrap()))
        .stdout(OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    (child, ours)
}

/// A store with one image, which nobody looks into.
fn images() -> (tempfile::TempDir, ImageCatalog) {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let meta = ImageMeta {
        name: "python".to_owned(),
        digest: Root::new([7; 32]),
        python: "/usr/bin/python3".to_owned(),
        env: BTreeMap::from([("OF_THE_IMAGE".to_owned(), "yes".to_owned())]),
        preload: vec![],
        limits: ImageLimits::default(),
        created: Timestamp::from_millis(1_700_000_000_000),
        base: "a test".to_owned(),
        size_bytes: Bytes::mib(1),
        packages: vec![],
    };
    let root = store.begin().unwrap();
    store.publish(root, &meta).unwrap();
    let catalog = ImageCatalog::new(vec![directory.path().to_owned()]);
    (directory, catalog)
}

fn receipt(image: &RootDigest, limits: CellLimits) -> ContainerReceipt {
    ContainerReceipt {
        backend: BackendName::try_from("docker".to_owned()).unwrap(),
        image: *image,
        engine: EngineName {
            name: "a scripted engine".to_owned(),
            version: "1".to_owned(),
            api: "1.41".to_owned(),
            runtime: "unshare".to_owned(),
            cgroup_driver: "none".to_owned(),
        },
        limits,
        user: "10001:10001".to_owned(),
        read_only_root: true,
        no_capabilities: true,
        no_new_privileges: true,
        network: "none".to_owned(),
        apparmor: None,
        seccomp: SeccompReceipt {
            allowed_calls: 160,
            digest: "00".to_owned(),
        },
        cgroup: CgroupLimits {
            version: "v2".to_owned(),
            memory_bytes: limits.memory_bytes,
            memory_overhead_bytes: 0,
            processes: limits.processes + 1,
            processes_overhead: 1,
            cpu_millis: limits.cpu_millis,
            swap_off: true,
        },
        namespaces: vec!["pid".to_owned()],
        // No filter is put on here.
        own_kernel: true,
    }
}

impl Scripted {
    /// With real first processes. `None`, with the reason on stderr, where no container can be put together.
    pub fn start(name: &str) -> Option<Scripted> {
        if !namespaces_work() {
            eprintln!("SKIPPED {name}: this machine gives no user namespace to unshare and setpriv");
            return None;
        }
        let Some(init) = init() else {
            eprintln!("SKIPPED {name}: the first process of a container cannot be built here");
            return None;
        };
        Some(Scripted::with(init))
    }

    /// With containers that the test plays.
    pub fn played(container: impl Fn(UnixStream) + Send + Sync + 'static) -> Scripted {
        let scripted = Scripted::with(PathBuf::new());
        scripted.script.play(container);
        scripted
    }

    fn with(init: PathBuf) -> Scripted {
        let (ours, theirs) = RecordSocket::pair().unwrap();
        let script = Arc::new(Script {
            socket: theirs,
            container: Mutex::new(Container::Init),
            facts: Mutex::default(),
            seen: Mutex::default(),
            came: Condvar::new(),
            deaf: Mutex::new(false),
        });
        script.say(&Reply::Hello { version: VERSION });
        let playing = Arc::clone(&script);
        let thread = std::thread::spawn(move || play(&playing, &init));
        let tasks = TaskTracker::new();
        let (directory, catalog) = images();
        let config = DockerConfig {
            backends: vec![(Name::docker(), ImageName("python".to_owned()))],
            catalog,
            compile: Compile::Never,
        };
        let broker = Broker::start(ours.into_inner(), &tasks).unwrap();
        Scripted {
            backend: DockerBackend::new(broker, config, &tasks),
            script,
            thread,
            _images: directory,
        }
    }

    /// The broker ends when the daemon's side is closed.
    pub async fn stop(self) {
        drop(self.backend);
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join().unwrap());
        joined.await.unwrap();
    }
}

/// Answers requests until the daemon closes its end.
fn play(script: &Script, init: &Path) {
    let mut cells: HashMap<u64, Option<Child>> = HashMap::new();
    loop {
        let mut wait = [PollFd::new(script.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut wait, PollTimeout::NONE).unwrap();
        match receive::<Request>(&script.socket) {
            Ok((request, _)) => {
                if !*script.deaf.lock().unwrap() {
                    answer(script, init, &request, &mut cells);
                }
                script.seen.lock().unwrap().push(request);
                script.came.notify_all();
            }
            Err(ProtocolError::Record(RecordError::NotReady)) => {}
            Err(_closed) => break,
        }
    }
    for mut child in cells.into_values().flatten() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn answer(script: &Script, init: &Path, request: &Request, cells: &mut HashMap<u64, Option<Child>>) {
    let facts = *script.facts.lock().unwrap();
    match request {
        Request::Open {
            request,
            image,
            limits,
            ..
        } => {
            // As the protocol says: never used twice.
            let cell = *request;
            let container = script.container.lock().unwrap().clone();
            let (child, wire) = match container {
                Container::Init => {
                    let (child, wire) = contain(init);
                    (Some(child), wire)
                }
                Container::Played(part) => {
                    let (ours, theirs) = UnixStream::pair().unwrap();
                    std::thread::spawn(move || part(theirs));
                    (None, ours)
                }
            };
            cells.insert(cell, child);
            let opened = Reply::Opened {
                request: *request,
                cell,
                how: How::Cold,
                receipt: receipt(image, *limits),
            };
            script.say_with(&opened, Some(&OwnedFd::from(wire)));
        }
        Request::Facts { cell } => script.say(&Reply::Facts { cell: *cell, facts }),
        Request::Kill { cell, reason } => {
            if let Some(Some(child)) = cells.get_mut(cell) {
                child.kill().unwrap();
            }
            let why = WhyGone::Killed { reason: *reason };
            script.say(&Reply::Gone {
                cell: *cell,
                why,
                facts,
            });
        }
        Request::Release { cell } => {
            if let Some(Some(mut child)) = cells.remove(cell) {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            script.say(&Reply::Released { cell: *cell });
        }
        Request::Start { .. } | Request::Renew { .. } | Request::Probe { .. } => {}
    }
}
