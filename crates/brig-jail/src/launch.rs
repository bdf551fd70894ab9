//! Cloning a cell's PID 1.
//!
//! ```text
//!  keeper          P (fork of the keeper)                C (clone of P, child of the keeper)
//!    │ ──fork──▶ makes the cell's groups
//!    │           joins the outer user namespace
//!    │           clone3 ─────────────────────────────▶ waits for P
//!    │           writes C's one-line maps ───"go"────▶ becomes 10001, executes brig-jail-init
//!    │ ◀─Cloned─
//!    │ ◀──────────────────────────────Forked (its child, the stub, is the future program)
//!    │ ─move N─▶ moves process N, the stub, into the cell's groups
//!    │ ◀─Moved── exits
//! ```
//!
//! Everything slow (directories, moves between groups) happens in P, so the keeper's loop never waits for it. P
//! and C do the minimum: they are copies of the keeper.

use crate::cgroup::{CellGroups, move_process};
use crate::control::CONTROL_FD;
use crate::plan::AGENT_ID;
use crate::protocol::{CellLimits, UidKind};
use crate::remedy::item;
use crate::stage::{SETUP_FAILURE_BYTES, SetupFailure, Stage};
use crate::sys::capabilities;
use crate::sys::parent::{self as sys, Cloned};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, fchdir, pipe2, read, setgroups, setresgid, setresuid, setsid, write,
};
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// How often clone3 is tried while dead namespaces are still being freed (they are, 40 to 80 ms after a cell).
const CLONE_ATTEMPTS: usize = 100;
const CLONE_PAUSE_MILLIS: u16 = 5;

/// Longest wait of P for a word from the keeper.
const PATIENCE_MILLIS: u16 = 10_000;

/// Bytes of a report of P or C.
pub(crate) const REPORT_BYTES: usize = 8;

/// The namespaces of every cell.
pub(crate) const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// What P and C tell the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// PID 1 exists, as this pid of the keeper's namespace.
    Cloned { init: Pid },
    /// The stub is in the cell's groups.
    Moved,
    /// A step failed.
    Failed(SetupFailure),
}

impl Report {
    fn encode(self) -> [u8; REPORT_BYTES] {
        let mut record = [0; REPORT_BYTES];
        match self {
            Report::Cloned { init } => {
                let [p0, p1, p2, p3] = init.as_raw().to_le_bytes();
                record = [1, p0, p1, p2, p3, 0, 0, 0];
            }
            Report::Moved => record[0] = 2,
            Report::Failed(failure) => {
                record[0] = 3;
                record[1..].copy_from_slice(&failure.encode());
            }
        }
        record
    }

    pub(crate) fn decode(record: &[u8]) -> Option<Report> {
        let (tag, rest) = record.split_first()?;
        match (tag, rest) {
            (1, [p0, p1, p2, p3, ..]) => Some(Report::Cloned {
                init: Pid::from_raw(i32::from_le_bytes([*p0, *p1, *p2, *p3])),
            }),
            (2, _) => Some(Report::Moved),
            (3, rest) => {
                let failure: [u8; SETUP_FAILURE_BYTES] = rest.try_into().ok()?;
                SetupFailure::decode(failure).map(Report::Failed)
            }
            _ => None,
        }
    }
}

/// What a cell is cloned from.
#[derive(Debug)]
pub(crate) struct Template<'a> {
    /// The cell's groups, where the host gives some.
    pub(crate) groups: Option<&'a CellGroups>,
    /// Limits that are written at once.
    pub(crate) limits: &'a CellLimits,
    /// The outer user namespace.
    pub(crate) outer: BorrowedFd<'a>,
    /// The root of the cell's image, where it is not the host's: PID 1 starts in it.
    pub(crate) image: Option<BorrowedFd<'a>>,
    /// Its kind: what P has to do to be somebody in it.
    pub(crate) uid_kind: UidKind,
    /// The cell's id in the outer namespace.
    pub(crate) slot: u32,
    /// The sealed `brig-jail-init`.
    pub(crate) init: BorrowedFd<'a>,
    /// Namespaces, as CLONE_NEW* flags.
    pub(crate) namespaces: i32,
}

/// A cell that is being cloned, as the keeper sees it.
#[derive(Debug)]
pub(crate) struct Launch {
    /// P.
    pub(crate) helper: Pid,
    /// Socket to P (and C): reports, and the word to move.
    pub(crate) report: OwnedFd,
    /// Socket to PID 1.
    pub(crate) control: OwnedFd,
}

/// Forks P and returns at once.
pub(crate) fn launch(template: &Template<'_>) -> nix::Result<Launch> {
    // PID 1 and P wait on theirs; the keeper asks for every single operation not to.
    let flags = SockFlag::SOCK_CLOEXEC;
    let (control, init_end) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let (report, helper_end) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    match sys::fork_single_threaded()? {
        ForkResult::Parent { child } => Ok(Launch {
            helper: child,
            report,
            control,
        }),
        ForkResult::Child => {
            let outcome = Helper::begin(template, &init_end, &helper_end).and_then(Helper::run);
            let code = match outcome {
                Ok(()) => 0,
                Err((report, failure)) => {
                    // A keeper that is gone needs no report.
                    write(report, &Report::Failed(failure).encode()).ok();
                    1
                }
            };
            sys::exit_now(code)
        }
    }
}

/// Tells P to move a process into the cell's groups.
pub(crate) fn say_move(report: BorrowedFd<'_>, process: Pid) -> nix::Result<()> {
    sys::send_record(report, &process.as_raw().to_le_bytes(), &[])
}

/// The only child of a process, as this process numbers it.
pub(crate) fn only_child(parent: Pid) -> Option<Pid> {
    let listed = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let child = match listed {
        Ok(children) => children
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok()),
        // A kernel without CONFIG_PROC_CHILDREN.
        Err(_missing) => find_child(parent),
    };
    child.map(Pid::from_raw)
}

fn find_child(parent: Pid) -> Option<i32> {
    let wanted = format!("PPid:\t{parent}");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        status.is_ok_and(|text| text.lines().any(|line| line == wanted))
    })
}

/// Gives up the keeper's urgency. That is always allowed; what may be refused is to rise to the ordinary class from a
/// lower one (`nice brig run`), where somebody put all of Brig.
pub(crate) fn calm_down() {
    sys::set_nice(sys::Urgency::Normal).ok();
}

/// The last descriptor that a process keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastFd(pub(crate) RawFd);

/// Makes a fresh copy of the keeper into a process of its own: the kept descriptors from 3 on and no others, no
/// blocked signal, no terminal, and no longer life than the keeper's.
pub(crate) fn leave_keeper<const N: usize>(kept: [BorrowedFd<'_>; N], last: LastFd) -> nix::Result<()> {
    // The old numbers may be the new ones of others: out of the way first.
    let mut moved = [0; N];
    for (old, place) in kept.into_iter().zip(&mut moved) {
        *place = fcntl(old, FcntlArg::F_DUPFD_CLOEXEC(16))?;
    }
    for (old, new) in moved.into_iter().zip(CONTROL_FD..) {
        sys::duplicate_to(old, new)?;
    }
    sys::close_from(u32::try_from(last.0 + 1).unwrap_or(u32::MAX))?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    // Ctrl-C on the keeper's terminal is the keeper's business.
    setsid()?;
    // The keeper is single-threaded, so its death and only its death sends this.
    prctl::set_pdeathsig(Signal::SIGKILL)
}

/// Becomes id 0 of the outer namespace, without other groups: there a process of ours may write any map of a nested
/// namespace and enter it, and outside it is nobody.
pub(crate) fn join_outer(outer: BorrowedFd<'_>, kind: UidKind) -> nix::Result<()> {
    setns(outer, CloneFlags::CLONE_NEWUSER)?;
    // Only now: in there the keeper is root, as the maker of the namespace, and outside it has given that right up.
    if kind != UidKind::Own {
        setgroups(&[])?;
    }
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

type HelperResult<T> = Result<T, (BorrowedFd<'static>, SetupFailure)>;

/// P, with its descriptors where it wants them.
#[derive(Debug)]
struct Helper<'a> {
    template: &'a Template<'a>,
}

// The fixed places of P's descriptors, after the control socket's; everything above is closed.
const REPORT_FD: RawFd = 4;
const INIT_FD: RawFd = 5;
const OUTER_FD: RawFd = 6;

fn fixed(number: RawFd) -> BorrowedFd<'static> {
    sys::borrow_fixed(number)
}

fn failed(stage: Stage, item: u16) -> impl Fn(Errno) -> (BorrowedFd<'static>, SetupFailure) {
    move |errno| {
        (
            fixed(REPORT_FD),
            SetupFailure {
                stage,
                item,
                errno: errno as i32,
            },
        )
    }
}

impl<'a> Helper<'a> {
    fn begin(template: &'a Template<'a>, control: &OwnedFd, report: &OwnedFd) -> HelperResult<Helper<'a>> {
        let fail = failed(Stage::Clone, item::HELPER);
        // While P is still who may go there. C inherits the place, as one in its own mount namespace, and with it what
        // no path would give the user of a cell.
        let in_place = template.image.map_or(Ok(()), fchdir);
        let kept = [control.as_fd(), report.as_fd(), template.init, template.outer];
        leave_keeper(kept, LastFd(OUTER_FD)).map_err(&fail)?;
        in_place.map_err(failed(Stage::Clone, item::ENTER_IMAGE))?;
        for inner in [REPORT_FD, INIT_FD, OUTER_FD] {
            fcntl(fixed(inner), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(&fail)?;
        }
        Ok(Helper { template })
    }

    fn run(self) -> HelperResult<()> {
        let mut entrance = self.make_groups()?;
        // Building a cell is no more urgent than the jobs that run meanwhile.
        calm_down();
        let fail = failed(Stage::Clone, item::JOIN_OUTER);
        join_outer(fixed(OUTER_FD), self.template.uid_kind).map_err(&fail)?;
        // Else C's files in /proc would belong to the host's root, and P could not write C's maps.
        prctl::set_dumpable(true).map_err(&fail)?;
        let (wait, go) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed(Stage::Clone, item::HELPER))?;
        let init = match clone_patiently(self.template.namespaces)? {
            Cloned::Child => {
                drop(go);
                // Only `Err`: on success brig-jail-init runs here.
                let Err(failure) = become_init(&wait);
                return Err(failure);
            }
            Cloned::Parent(init) => init,
        };
        self.map(init)?;
        tell(Report::Cloned { init })?;
        write(&go, &[1]).map_err(failed(Stage::Clone, item::HELPER))?;
        if self.template.groups.is_none() {
            return Ok(());
        }
        let Some(stub) = hear_from_keeper()? else {
            return Ok(());
        };
        move_process(&mut entrance, stub).map_err(failed(Stage::Cgroup, item::CGROUP_ENTER))?;
        tell(Report::Moved)
    }

    /// Makes the cell's groups; returns the way into them, which P could not open any more as somebody else.
    fn make_groups(&self) -> HelperResult<Vec<File>> {
        let Some(groups) = self.template.groups else {
            return Ok(Vec::new());
        };
        groups
            .create()
            .map_err(failed(Stage::Cgroup, item::CGROUP_CREATE))?;
        groups
            .limit(self.template.limits)
            .map_err(failed(Stage::Cgroup, item::CGROUP_LIMIT))?;
        groups
            .open_entrance()
            .map_err(failed(Stage::Cgroup, item::CGROUP_OPEN))
    }

    fn map(&self, init: Pid) -> HelperResult<()> {
        let line = format!("{AGENT_ID} {} 1", self.template.slot);
        for (file, value) in [("setgroups", "deny"), ("uid_map", &line), ("gid_map", &line)] {
            let written = std::fs::write(format!("/proc/{init}/{file}"), value);
            written.map_err(|error| failed(Stage::IdMap, item::CELL_MAP)(crate::cgroup::errno_of(&error)))?;
        }
        Ok(())
    }
}

fn tell(report: Report) -> HelperResult<()> {
    write(fixed(REPORT_FD), &report.encode())
        .map(drop)
        .map_err(failed(Stage::Clone, item::HELPER))
}

/// Waits for the keeper's word: whom to move. `None`: it is gone, or gave this cell up.
fn hear_from_keeper() -> HelperResult<Option<Pid>> {
    wait_for_keeper(PATIENCE_MILLIS).map_err(failed(Stage::Clone, item::HELPER))?;
    let mut word = [0; 4];
    let heard = sys::receive_record(fixed(REPORT_FD), &mut word, 0);
    Ok(matches!(heard, Ok((4, _))).then_some(Pid::from_raw(i32::from_le_bytes(word))))
}

fn wait_for_keeper(millis: u16) -> nix::Result<()> {
    let report = fixed(REPORT_FD);
    let mut wait = [PollFd::new(report.as_fd(), PollFlags::POLLIN)];
    poll(&mut wait, PollTimeout::from(millis)).map(drop)
}

/// Namespaces of cells that have just ended still count for a moment: ENOSPC and EAGAIN pass.
fn clone_patiently(namespaces: i32) -> HelperResult<Cloned> {
    let fail = failed(Stage::Clone, item::CLONE);
    for _attempt in 1..CLONE_ATTEMPTS {
        match sys::clone_for_parent(namespaces) {
            Err(Errno::ENOSPC | Errno::EAGAIN | Errno::ENOMEM) => {
                wait_for_keeper(CLONE_PAUSE_MILLIS).map_err(&fail)?;
            }
            cloned => return cloned.map_err(&fail),
        }
    }
    sys::clone_for_parent(namespaces).map_err(&fail)
}

/// C: waits for its maps, becomes the agent with every capability of its own namespaces, executes init.
fn become_init(wait: &OwnedFd) -> HelperResult<Infallible> {
    let fail = failed(Stage::Clone, item::BECOME_INIT);
    if read(wait, &mut [0]).map_err(&fail)? == 0 {
        return Err(fail(Errno::ECANCELED));
    }
    let (uid, gid) = (Uid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID));
    setresgid(gid, gid, gid).map_err(&fail)?;
    setresuid(uid, uid, uid).map_err(&fail)?;
    // Init builds the jail with them and gives them up; without the ambient set execve would take them, since
    // 10001 is not 0.
    capabilities::keep_over_exec().map_err(&fail)?;
    let errno = sys::execute_descriptor(fixed(INIT_FD), c"brig-jail-init");
    Err(failed(Stage::Clone, item::EXECUTE_INIT)(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_survives_its_encoding() {
        let failure = SetupFailure {
            stage: Stage::Clone,
            item: 3,
            errno: 28,
        };
        for report in [
            Report::Cloned {
                init: Pid::from_raw(4_000_001),
            },
            Report::Moved,
            Report::Failed(failure),
        ] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&[]), None);
        assert_eq!(Report::decode(&[9; REPORT_BYTES]), None);
    }
}
