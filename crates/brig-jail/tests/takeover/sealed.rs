//! What runs as PID 1 and as enter-helper, and with which environment.

use crate::support::residue::children;
use crate::support::{Keeper, config, is_root, skip, small};
use brig_jail::protocol::{Level, Request};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const WHOLE: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// The keeper's descriptor of the copy, by its link.
fn copy_of(keeper: &Keeper) -> PathBuf {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", keeper.child.id())).unwrap();
    let mut paths = descriptors.map(|entry| entry.unwrap().path());
    let is_copy = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:brig-jail-init"))
    };
    paths
        .find(is_copy)
        .expect("the keeper has a copy of brig-jail-init")
}

/// Everything that would change a file, and whether it worked.
fn attempts(path: &Path) -> Vec<Result<(), Errno>> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let open = || OpenOptions::new().write(true).open(path).map_err(errno);
    vec![
        open().and_then(|mut file| file.write_all(b"hostile").map_err(errno)),
        open().and_then(|file| file.set_len(0).map_err(errno)),
        open().and_then(|file| file.set_len(1 << 30).map_err(errno)),
    ]
}

pub fn the_program_of_every_first_process_is_a_sealed_copy() {
    if !is_root() {
        skip("looking into the keeper from outside needs root");
    }
    // The control arm: a copy without seals can be written by way of its link.
    let open = memfd_create(c"open", MFdFlags::empty()).unwrap();
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    assert!(attempts(Path::new(&link)).iter().all(Result::is_ok));

    let mut keeper = Keeper::start(&config("sealed"));
    let cell = keeper.open_at(Level::Workstation, small()).unwrap();
    keeper
        .link
        .send(&Request::OpenFiles {
            request: 1,
            cell: cell.number,
        })
        .unwrap();
    let (_, helper) = keeper.reply();
    crate::support::residue::until("both run", || {
        children(keeper.child.id())
            .into_iter()
            .filter(|pid| program_of(*pid).is_some())
            .count()
            == 2
    });
    let copy = copy_of(&keeper);
    let sealed = File::open(&copy).unwrap();
    let seals = SealFlag::from_bits_truncate(fcntl(&sealed, FcntlArg::F_GET_SEALS).unwrap());
    assert!(seals.contains(WHOLE), "{seals:?}");
    for attempt in attempts(&copy) {
        assert!(
            matches!(attempt, Err(Errno::EPERM | Errno::ETXTBSY)),
            "{attempt:?}"
        );
    }
    let wanted = sealed.metadata().unwrap();
    for pid in children(keeper.child.id()) {
        let executed = program_of(pid).unwrap();
        assert_eq!(
            (executed.dev(), executed.ino()),
            (wanted.dev(), wanted.ino()),
            "process {pid}"
        );
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        assert_eq!(environment, b"", "process {pid}");
    }
    drop(helper);
}

/// The file that a process executes, if it is a memory file.
fn program_of(pid: u32) -> Option<std::fs::Metadata> {
    let path = format!("/proc/{pid}/exe");
    let link = std::fs::read_link(&path).ok()?;
    link.to_string_lossy()
        .starts_with("/memfd:")
        .then(|| std::fs::metadata(&path).ok())?
}

pub fn a_keeper_starts_its_own_processes_with_few_variables() {
    if !is_root() {
        skip("looking into the keeper from outside needs root");
    }
    // The control arm: there is something to leave out.
    assert!(std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("CARGO_")));
    let mut keeper = Keeper::start(&config("variables"));
    keeper.probe();
    let environment = std::fs::read(format!("/proc/{}/environ", keeper.child.id())).unwrap();
    let text = String::from_utf8_lossy(&environment).into_owned();
    for entry in text.split('\0').filter(|entry| !entry.is_empty()) {
        let name = entry.split('=').next().unwrap();
        let known = [
            "PATH",
            "HOME",
            "LANG",
            "TZ",
            "TERM",
            "NO_COLOR",
            "TMPDIR",
            "RUST_LOG",
            "RUST_BACKTRACE",
        ];
        let ours = ["BRIG_", "XDG_", "LC_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        assert!(known.contains(&name) || ours, "{name}");
    }
}
