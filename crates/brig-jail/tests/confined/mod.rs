//! A process that confines itself as the daemon does, and tries things.

use brig_jail::confine::{DaemonConfinement, confine_daemon};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, ExitCode};

pub const CONFINED_WORD: &str = "__confined";
pub const FREE_WORD: &str = "__free";

/// What `main` does in place of tests when it was started to be confined (or as the control arm).
pub fn be_confined_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    let word = args
        .next()
        .filter(|word| word == CONFINED_WORD || word == FREE_WORD)?;
    let data = args.next()?;
    let data = Path::new(&data);
    // Open before, as the daemon's listeners are: the address to call stays valid.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let outside = Outside::prepare(address);
    if word == CONFINED_WORD {
        let confinement = DaemonConfinement {
            writable: vec![data.to_owned()],
            readable: Vec::new(),
        };
        confine_daemon(&confinement).unwrap();
    }
    let parent = nix::unistd::getppid();
    tell("write own data", std::fs::write(data.join("store"), "x").is_ok());
    tell(
        "run a thread",
        std::thread::spawn(|| 7).join().is_ok_and(|seven| seven == 7),
    );
    tell(
        "raise a signal in itself",
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGCHLD).is_ok(),
    );
    tell("make a pair", UnixStream::pair().is_ok());
    tell("write elsewhere", write_elsewhere());
    tell("read users", std::fs::read("/etc/passwd").is_ok());
    tell(
        "execute a program",
        Command::new("/bin/true")
            .status()
            .is_ok_and(|status| status.success()),
    );
    tell("open a listener", TcpListener::bind("127.0.0.1:0").is_ok());
    tell("call somebody", TcpStream::connect(address).is_ok());
    tell("signal its parent", nix::sys::signal::kill(parent, None).is_ok());
    tell(
        "make a namespace",
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS).is_ok(),
    );
    outside.try_everything();
    if nix::unistd::geteuid().is_root() {
        try_what_root_can();
    }
    Some(ExitCode::SUCCESS)
}

/// What lies outside, and descriptors that the daemon has too.
struct Outside {
    file: tempfile::NamedTempFile,
    directory: tempfile::TempDir,
    named: UnixDatagram,
    listener: TcpListener,
    address: SocketAddr,
}

impl Outside {
    fn prepare(address: SocketAddr) -> Outside {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        Outside {
            file: tempfile::NamedTempFile::new_in("/var/tmp").unwrap(),
            named: UnixDatagram::bind(directory.path().join("named")).unwrap(),
            directory,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            address,
        }
    }

    fn try_everything(self) {
        let mode = std::fs::Permissions::from_mode(0o4755);
        tell(
            "change a mode",
            std::fs::set_permissions(self.file.path(), mode).is_ok(),
        );
        let now = nix::sys::time::TimeSpec::UTIME_NOW;
        let touched = nix::sys::stat::utimensat(
            nix::fcntl::AT_FDCWD,
            self.file.path(),
            &now,
            &now,
            nix::sys::stat::UtimensatFlags::FollowSymlink,
        );
        tell("change a time", touched.is_ok());
        tell("choose whom a descriptor signals", self.own_by_parent());
        tell("choose with which signal", self.signal_with_kill());
        let name = self.directory.path().join("named");
        let written = UnixDatagram::pair().and_then(|(one, _)| one.send_to(b"x", name));
        tell("write to a named socket", written.is_ok());
        tell("make memory executable", executable_memory());
        tell("call by fast open", self.fast_open());
        drop(self.named);
    }

    fn own_by_parent(&self) -> bool {
        let parent = nix::unistd::getppid().as_raw();
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(self.listener.as_raw_fd(), libc::F_SETOWN, parent) == 0 }
    }

    fn signal_with_kill(&self) -> bool {
        const F_SETSIG: libc::c_int = 10;
        // SAFETY: takes numbers only.
        unsafe { libc::fcntl(self.listener.as_raw_fd(), F_SETSIG, libc::SIGUSR1) == 0 }
    }

    /// A listener that is shut down is a socket like any other, and this flag connects without `connect`.
    fn fast_open(&self) -> bool {
        use nix::sys::socket::{MsgFlags, Shutdown, SockaddrIn, sendto, shutdown};
        let SocketAddr::V4(address) = self.address else {
            return false;
        };
        shutdown(self.listener.as_raw_fd(), Shutdown::Read).ok();
        let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN) | MsgFlags::MSG_NOSIGNAL;
        sendto(self.listener.as_raw_fd(), b"x", &SockaddrIn::from(address), flags).is_ok()
    }
}

fn executable_memory() -> bool {
    // SAFETY: a fresh anonymous mapping touches no memory of this process.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

/// What another user could not do even without a wall.
fn try_what_root_can() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let parent = nix::unistd::getppid();
    tell("read the shadow file", std::fs::read("/etc/shadow").is_ok());
    let packet = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
    tell("open a packet socket", packet.is_ok());
    tell(
        "open its parent's memory",
        std::fs::File::open(format!("/proc/{parent}/mem")).is_ok(),
    );
    // It is let go again when this process ends.
    // SAFETY: PTRACE_SEIZE reads and writes no memory of this process.
    let traced = unsafe { libc::ptrace(libc::PTRACE_SEIZE, parent.as_raw(), 0, 0) };
    tell("trace its parent", traced == 0);
    let knob = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/sys/kernel/core_pattern");
    tell("change the kernel's settings", knob.is_ok());
    let mounted = nix::mount::mount(
        None::<&str>,
        "/proc/self/ns",
        None::<&str>,
        nix::mount::MsFlags::MS_BIND,
        None::<&str>,
    );
    // Reaches the kernel's own checks only without the filter: the source is missing.
    tell("reach mount", mounted != Err(nix::errno::Errno::EPERM));
}

fn write_elsewhere() -> bool {
    tempfile::tempfile_in("/var/tmp").is_ok()
}

fn tell(what: &str, done: bool) {
    let answer = if done { "yes" } else { "no" };
    println!("{what}: {answer}");
}
