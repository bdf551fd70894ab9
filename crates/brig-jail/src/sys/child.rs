//! What `brig-jail-init` and the enter-helper ask of the kernel and nix has no safe function for.
//!
//! Everything here runs in a single-threaded process.

use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::{CStr, c_int, c_long, c_uint, c_ulong};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::plan::FilterInstruction;

/// Attributes of a mount, as `mount_setattr` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MountAttributes(u64);

impl MountAttributes {
    /// Nobody writes.
    pub(crate) const READ_ONLY: MountAttributes = MountAttributes(0x1);
    /// Set-user-id bits and file capabilities are ignored.
    pub(crate) const NO_SUID: MountAttributes = MountAttributes(0x2);
    /// Device nodes do not open.
    pub(crate) const NO_DEVICES: MountAttributes = MountAttributes(0x4);
    /// Nothing can be executed.
    pub(crate) const NO_EXEC: MountAttributes = MountAttributes(0x8);

    /// Both.
    pub(crate) const fn and(self, other: MountAttributes) -> MountAttributes {
        MountAttributes(self.0 | other.0)
    }
}

/// Whether a mount tree is taken whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// This mount alone.
    One,
    /// With everything mounted below it.
    Recursive,
}

const AT_RECURSIVE: c_uint = 0x8000;
const OPEN_TREE_CLONE: c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x4;

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn check(result: c_long) -> nix::Result<c_long> {
    Errno::result(result)
}

/// Turns a descriptor that a system call returned into an owned one.
fn own(result: c_long) -> nix::Result<OwnedFd> {
    let number = RawFd::try_from(check(result)?).map_err(|_too_big| Errno::EBADF)?;
    // SAFETY: the kernel has just returned this number as a new descriptor of this process, so that nobody
    // else owns it; every caller in this file passes the result of such a call and nothing else.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes a descriptor that the parent left open under a known number. `None` when nothing is open there.
/// Only for the first lines of `main`, and of a child that owns nothing yet: called twice with the same number it would make two owners.
pub(crate) fn take_inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD takes no pointer and changes nothing; on a closed number it returns EBADF.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return None;
    }
    // SAFETY: the descriptor is open (checked above), and nothing in this process owns it yet: it came through
    // exec or, in a forked child, was just put on one of the numbers 0 to 2, which nobody owns; the callers are the
    // start of `main` and of such a child, before anything else is opened, once per number.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: c_uint) -> nix::Result<()> {
    // No descriptor has a higher number, and gVisor refuses a range that ends beyond it.
    const LAST: c_uint = i32::MAX.cast_unsigned();
    // SAFETY: close_range takes no pointer. The callers close numbers that no live OwnedFd stands for: at the
    // start of `main`, where nothing is owned yet, right before exec, after which nothing is dropped, and in a forked
    // child that ends with `_exit` and uses none of what it inherited.
    let result = unsafe { libc::close_range(first, LAST, 0) };
    check(result.into()).map(drop)
}

/// Makes `target` (0, 1, 2 or one of the runner's numbers) a copy of `source`, open across exec.
pub(crate) fn duplicate_onto(source: BorrowedFd<'_>, target: RawFd) -> nix::Result<()> {
    // SAFETY: dup2 takes no pointer. It closes what `target` was: the callers use it for 0-2, which std never
    // owns, and, in the last lines before exec, for the runner's numbers, after which no OwnedFd is dropped.
    let result = unsafe { libc::dup2(source.as_raw_fd(), target) };
    check(result.into())?;
    if source.as_raw_fd() == target {
        // SAFETY: F_SETFD takes no pointer; the descriptor is open, dup2 has just succeeded on it.
        let result = unsafe { libc::fcntl(target, libc::F_SETFD, 0) };
        check(result.into())?;
    }
    Ok(())
}

/// What [`fork`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// This is the parent; the child's pid.
    Parent(nix::unistd::Pid),
    /// This is the child.
    Child,
}

/// Forks this process, which must have one thread: `brig-jail-init` never starts another.
pub(crate) fn fork() -> nix::Result<Side> {
    // SAFETY: after fork in a program with threads only async-signal-safe functions may be called. This program
    // has one thread (it never starts one, and its main asserts nothing else), so no lock can be held by a
    // thread that does not exist in the child.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Side::Parent(child)),
        nix::unistd::ForkResult::Child => Ok(Side::Child),
    }
}

/// The numbers of signals that may be ignored or caught at all, real-time ones and the C library's own two included.
pub(crate) fn changeable_signals() -> impl Iterator<Item = c_int> {
    (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal))
}

/// Makes a signal do again what it does by default: Rust's start-up code ignores SIGPIPE, the keeper's parent may
/// have ignored others, and exec would keep that. Past the C library, which has no words for its own signals 32 and 33
/// and leaves them ignored in whatever it spawns.
pub(crate) fn default_signal(signal: c_int) -> nix::Result<()> {
    // Handler SIG_DFL, no flags, no restorer, an empty mask: all zero, and never larger than this.
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_BYTES: usize = 8;
    // SAFETY: the kernel reads a `sigaction` of at most 32 bytes, which `DEFAULT` is; SIG_DFL installs no function, so
    // no handler's assumptions can be broken; nothing is written back through the null pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            DEFAULT.as_ptr(),
            std::ptr::null::<u64>(),
            MASK_BYTES,
        )
    };
    check(result).map(drop)
}

/// Makes a signal do nothing. For PID 1 under a kernel that does not shield it from the signals of its own processes.
pub(crate) fn ignore_signal(signal: c_int) -> nix::Result<()> {
    // Handler SIG_IGN, no flags, no restorer, an empty mask.
    const IGNORE: [u64; 4] = [1, 0, 0, 0];
    const MASK_BYTES: usize = 8;
    // SAFETY: the kernel reads a `sigaction` of at most 32 bytes, which `IGNORE` is; SIG_IGN (1) installs no function, so
    // no handler's assumptions can be broken; nothing is written back through the null pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            IGNORE.as_ptr(),
            std::ptr::null::<u64>(),
            MASK_BYTES,
        )
    };
    check(result).map(drop)
}

/// A detached copy of the mount at `path`.
pub(crate) fn clone_tree(path: &CStr, depth: Depth) -> nix::Result<OwnedFd> {
    let recursive = match depth {
        Depth::One => 0,
        Depth::Recursive => AT_RECURSIVE,
    };
    let flags = OPEN_TREE_CLONE | recursive | libc::O_CLOEXEC as c_uint;
    // SAFETY: `path` is NUL-terminated and lives through the call; the kernel only reads it.
    own(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Adds attributes to a detached mount tree.
pub(crate) fn restrict_tree(
    tree: BorrowedFd<'_>,
    attributes: MountAttributes,
    depth: Depth,
) -> nix::Result<()> {
    let recursive = match depth {
        Depth::One => 0,
        Depth::Recursive => AT_RECURSIVE,
    };
    let flags = recursive | libc::AT_EMPTY_PATH as c_uint;
    set_attributes(tree.as_raw_fd(), c"", flags, attributes)
}

/// Adds attributes to the mount at `path`, and to it alone.
pub(crate) fn restrict_mount(path: &CStr, attributes: MountAttributes) -> nix::Result<()> {
    set_attributes(libc::AT_FDCWD, path, 0, attributes)
}

fn set_attributes(
    directory: RawFd,
    path: &CStr,
    flags: c_uint,
    attributes: MountAttributes,
) -> nix::Result<()> {
    let attr = MountAttr {
        attr_set: attributes.0,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let size = size_of::<MountAttr>();
    // SAFETY: `path` is NUL-terminated; `attr` is a live `struct mount_attr` (MOUNT_ATTR_SIZE_VER0: four u64 in
    // this order) and `size` its true size, so the kernel reads nothing else. It writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory,
            path.as_ptr(),
            flags,
            &raw const attr,
            size,
        )
    };
    check(result).map(drop)
}

/// Attaches a detached mount tree at `target`.
pub(crate) fn attach_tree(tree: BorrowedFd<'_>, target: &CStr) -> nix::Result<()> {
    // SAFETY: both paths are NUL-terminated and live through the call; the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    check(result).map(drop)
}

/// Back to the ordinary scheduling class and priority, whatever PID 1 was given. To give a raised place up is always
/// allowed: what is refused is only to leave a lower one, where somebody put all of Brig (`nice brig run`).
pub(crate) fn ordinary_priority() -> nix::Result<()> {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameter` lives through the call and is only read; pid 0 is the caller.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameter) };
    unless_lower(check(result.into()))?;
    // SAFETY: setpriority takes no pointer.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    unless_lower(check(result.into()))
}

fn unless_lower<T>(changed: nix::Result<T>) -> nix::Result<()> {
    match changed {
        Ok(_) | Err(Errno::EACCES | Errno::EPERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Sets the NIS domain name of the UTS namespace, which starts as a copy of the host's.
pub(crate) fn set_domain_name(name: &CStr) -> nix::Result<()> {
    // SAFETY: the kernel reads exactly the given number of bytes, all of which belong to `name`.
    let result = unsafe { libc::setdomainname(name.as_ptr(), name.to_bytes().len()) };
    check(result.into()).map(drop)
}

/// Sets the interface's flags to "up".
pub(crate) fn bring_up(socket: BorrowedFd<'_>, interface: &CStr) -> nix::Result<()> {
    // SAFETY: `ifreq` is plain data for which all zero bytes are a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = interface.to_bytes();
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name) {
        *slot = byte.cast_signed();
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(|_too_big| Errno::EINVAL)?;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives through the call and whose name is NUL-terminated
    // (the length is checked above and the rest is zero).
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    check(result.into()).map(drop)
}

/// Whether a filter is installed with a notification listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterKind {
    /// Without.
    Plain,
    /// With: the descriptor is returned.
    Notifying,
}

const SECCOMP_SET_MODE_FILTER: c_uint = 1;
const SECCOMP_FILTER_FLAG_NEW_LISTENER: c_ulong = 1 << 3;

/// Installs a seccomp filter on this process; `no_new_privs` must be set.
pub(crate) fn install_filter(
    program: &[FilterInstruction],
    kind: FilterKind,
) -> nix::Result<Option<OwnedFd>> {
    let mut instructions: Vec<libc::sock_filter> = program
        .iter()
        .map(|one| libc::sock_filter {
            code: one.code,
            jt: one.jt,
            jf: one.jf,
            k: one.k,
        })
        .collect();
    let length = u16::try_from(instructions.len()).map_err(|_too_long| Errno::E2BIG)?;
    let program = libc::sock_fprog {
        len: length,
        filter: instructions.as_mut_ptr(),
    };
    let flags = match kind {
        FilterKind::Plain => 0,
        FilterKind::Notifying => SECCOMP_FILTER_FLAG_NEW_LISTENER,
    };
    // SAFETY: `program` points to `length` live instructions; the kernel copies and checks them and writes
    // nothing. What a filter then refuses shows as errno or kills: neither breaks memory safety.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match kind {
        FilterKind::Plain => check(result).map(|_zero| None),
        FilterKind::Notifying => own(result).map(Some),
    }
}

/// The newest Landlock ABI of this kernel; 0 when it has none or it is off.
pub(crate) fn landlock_abi() -> i32 {
    const VERSION: c_ulong = 1;
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION the kernel takes no pointer and size 0, and returns a number.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, VERSION) };
    i32::try_from(result).unwrap_or(0).max(0)
}

/// Reaps one child of this process, if one has ended: its pid and raw wait status. ECHILD when there is none.
pub(crate) fn reap_one() -> nix::Result<Option<(i32, i32)>> {
    let mut status: c_int = 0;
    // SAFETY: `status` is a live, writable int.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    let pid = Errno::result(pid)?;
    Ok((pid != 0).then_some((pid, status)))
}

/// Owns the descriptors of a received control message.
pub(crate) fn own_received(numbers: &[RawFd]) -> Vec<OwnedFd> {
    numbers
        .iter()
        // SAFETY: recvmsg has just installed these numbers as new descriptors of this process; the caller passes
        // every number of one message once, so that each has exactly one owner.
        .map(|number| unsafe { OwnedFd::from_raw_fd(*number) })
        .collect()
}

/// Starts the program: never returns when it works.
pub(crate) fn execute(
    file: &CStr,
    argv: &[std::ffi::CString],
    env: &[std::ffi::CString],
) -> nix::Result<Infallible> {
    nix::unistd::execve(file, argv, env)
}
