//! What PID 1 of a container finds, and what it makes sure of before it takes an order.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use std::os::fd::{AsFd, OwnedFd};

use super::wire::{Posture, SECCOMP_UNKNOWN};
use crate::child::{Step, at, check_ids};
use crate::stage::Stage;
use crate::sys::child as sys;
use crate::sys::parent::exit_now;

/// Where files are.
const WORKSPACE: &str = "/workspace";

/// The three streams that the engine gave, away from where the program's will be.
pub(super) struct Given {
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
    pub(super) trouble: OwnedFd,
}

/// Takes the streams; nothing else that was inherited stays open, and 0 to 2 are `/dev/null`. `None`: they cannot be
/// had, and there is nobody to tell.
pub(super) fn take_streams() -> Option<Given> {
    sys::close_from(3).ok()?;
    let copy = |number: std::os::fd::BorrowedFd<'_>| number.try_clone_to_owned().ok();
    let given = Given {
        input: copy(std::io::stdin().as_fd())?,
        output: copy(std::io::stdout().as_fd())?,
        trouble: copy(std::io::stderr().as_fd())?,
    };
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    for target in 0..3 {
        sys::duplicate_onto(null.as_fd(), target).ok()?;
    }
    for stream in [&given.input, &given.output, &given.trouble] {
        super::pipes::do_not_wait(stream).ok()?;
    }
    Some(given)
}

/// Makes sure of what Brig's own containers have, and looks at what depends on the kernel.
pub(super) fn secure() -> Step<Posture> {
    let failed = at(Stage::Namespace, 10);
    if nix::unistd::getpid().as_raw() != 1 {
        // Killing everything would kill what is not ours.
        return Err(failed(Errno::EPERM));
    }
    let status = std::fs::read_to_string("/proc/self/status").map_err(|_no_proc| failed(Errno::ENOENT))?;
    check_ids()?;
    check_capabilities(&status)?;
    let program_first_out = open("/proc/self/oom_score_adj", OFlag::O_WRONLY, Mode::empty()).is_ok();
    nix::sys::prctl::set_no_new_privs().map_err(at(Stage::Identity, 5))?;
    nix::sys::prctl::set_dumpable(false).map_err(at(Stage::Identity, 6))?;
    umask(Mode::from_bits_truncate(0o022));
    shut_ears().map_err(at(Stage::Channels, 10))?;
    Ok(Posture {
        seccomp_mode: field(&status, "Seccomp:")
            .and_then(|mode| mode.parse().ok())
            .unwrap_or(SECCOMP_UNKNOWN),
        init_closed: is_closed()?,
        program_first_out,
    })
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// By `/proc`, because Brig's filter refuses `capget`.
fn check_capabilities(status: &str) -> Step<()> {
    for (item, name) in (20u16..).zip(["CapInh:", "CapPrm:", "CapEff:"]) {
        let set = field(status, name).and_then(|set| u64::from_str_radix(set, 16).ok());
        if set != Some(0) {
            return Err(at(Stage::Identity, item)(Errno::EPERM));
        }
    }
    Ok(())
}

/// Linux shields the first process of a pid namespace from its own processes' signals; other kernels do not. So all that
/// can be ignored is, and children are heard of through a descriptor.
fn shut_ears() -> nix::Result<()> {
    for signal in sys::changeable_signals().filter(|signal| *signal != libc::SIGCHLD) {
        sys::ignore_signal(signal)?;
    }
    sys::default_signal(libc::SIGCHLD)?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_set_mask()
}

/// Whether another process of this user, such as the program will be, is kept out of this one. Asked of the kernel by a
/// child that tries.
fn is_closed() -> Step<bool> {
    let failed = at(Stage::Clone, 10);
    match sys::fork().map_err(&failed)? {
        sys::Side::Child => {
            let doors = ["/proc/1/environ", "/proc/1/mem", "/proc/1/fd", "/proc/1/fd/1"];
            let is_open = |door: &&str| {
                let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
                [OFlag::O_RDONLY, OFlag::O_WRONLY]
                    .into_iter()
                    .any(|how| open(*door, flags | how, Mode::empty()).is_ok())
            };
            exit_now(i32::from(doors.iter().any(is_open)))
        }
        sys::Side::Parent(child) => loop {
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(code == 0),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        },
    }
}

/// The workspace, held from before any program: whatever is mounted or put in its place later is not it.
pub(super) fn open_workspace() -> Step<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(WORKSPACE, flags, Mode::empty()).map_err(at(Stage::Mount, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_anywhere_is_refused_and_so_is_a_kernel_that_does_not_say() {
        let none = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n";
        assert_eq!(check_capabilities(none), Ok(()));
        for (item, name) in [(20, "CapInh"), (21, "CapPrm"), (22, "CapEff")] {
            let one = none.replace(
                &format!("{name}:\t0000000000000000"),
                &format!("{name}:\t0000000000000400"),
            );
            assert_eq!(check_capabilities(&one).unwrap_err().item, item);
            let silent = none.replace(name, "Other");
            assert_eq!(check_capabilities(&silent).unwrap_err().item, item);
        }
    }
}
