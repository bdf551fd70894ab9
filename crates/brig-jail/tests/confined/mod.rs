//! A process that confines itself as the daemon does, and tries things.

use brig_jail::confine::{DaemonConfinement, confine_daemon};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
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
    Some(ExitCode::SUCCESS)
}

fn write_elsewhere() -> bool {
    tempfile::tempfile_in("/var/tmp").is_ok()
}

fn tell(what: &str, done: bool) {
    let answer = if done { "yes" } else { "no" };
    println!("{what}: {answer}");
}
