//! System calls of the keeper, of the short-lived process that clones a cell, and of the clients of both.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, recvmsg, sendmsg};
use nix::unistd::{ForkResult, Pid};
use std::ffi::CStr;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a descriptor that the kernel has just made for this process.
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: `from_raw_fd` needs an open descriptor that nobody else owns. Every caller in this file passes a
    // number that a successful system call has just returned, exactly once, before anything else could see it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Turns the result of a raw system call into a number or the error.
fn checked(result: libc::c_long) -> nix::Result<i32> {
    let number = Errno::result(result)?;
    i32::try_from(number).map_err(|_too_large| Errno::EOVERFLOW)
}

/// Sends one record with descriptors, without waiting.
pub(crate) fn send_record(socket: BorrowedFd<'_>, record: &[u8], descriptors: &[RawFd]) -> nix::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control: &[ControlMessage<'_>] = if descriptors.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(record)], control, flags, None)?;
    Ok(())
}

/// Receives one record with at most `descriptors_max` descriptors, without waiting. Length 0 is end of file.
/// A record that is longer than the buffer is an error, as are descriptors that did not fit.
pub(crate) fn receive_record(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors_max: usize,
) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut control = vec![0_u8; control_space(descriptors_max)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let (length, flags) = (message.bytes, message.flags);
    // Owned before anything can fail: the kernel has installed what fitted, also of a message that was cut off.
    let descriptors: Vec<OwnedFd> = passed_descriptors(&control).into_iter().map(own).collect();
    if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((length, descriptors))
}

/// The descriptors in a buffer of control messages that was all zero before the kernel wrote it. nix reads none of a
/// message that was cut off, and so would leave them open for ever.
fn passed_descriptors(control: &[u8]) -> Vec<RawFd> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut found = Vec::new();
    let mut rest = control;
    while let Some((head, _)) = rest.split_at_checked(HEADER) {
        let word = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, i32::from_ne_bytes)
        };
        let length = head
            .first_chunk::<8>()
            .map_or(0, |bytes| usize::from_ne_bytes(*bytes));
        let Some(payload) = rest.get(HEADER..length) else {
            break;
        };
        if (word(8), word(12)) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            let numbers = payload.chunks_exact(size_of::<RawFd>());
            found.extend(numbers.filter_map(|bytes| bytes.try_into().ok().map(RawFd::from_ne_bytes)));
        }
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or(&[]);
    }
    found
}

/// Makes senders of descriptors to this socket fail, where the kernel can (Linux 6.16). Elsewhere what comes is closed unseen.
pub(crate) fn take_no_descriptors(socket: BorrowedFd<'_>) {
    const SO_PASSRIGHTS: libc::c_int = 83;
    let off: libc::c_int = 0;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the kernel reads `length` bytes of the live local `off`, which is exactly its size.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            length,
        )
    };
}

/// Raises the soft limit of open descriptors to the hard one. A cell takes a dozen; and a process may send descriptors as
/// long as all processes of its user together have fewer under way than it may have open: a cell can have the same user, so
/// the keeper's limit has to be the higher one.
pub(crate) fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok();
    }
}

/// Bytes of control data that hold this many descriptors.
fn control_space(descriptors: usize) -> usize {
    let payload = u32::try_from(descriptors * size_of::<RawFd>()).unwrap_or(u32::MAX);
    // SAFETY: CMSG_SPACE only computes with its argument; it reads no memory.
    let space = unsafe { libc::CMSG_SPACE(payload) };
    usize::try_from(space).unwrap_or(usize::MAX)
}

/// A memory file that can be sealed and executed.
pub(crate) fn executable_memfd(name: &CStr) -> nix::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    match memfd(name, flags | libc::MFD_EXEC) {
        // Kernels before 6.3 do not know MFD_EXEC, and make every memory file executable.
        Err(Errno::EINVAL) => memfd(name, flags),
        made => made,
    }
}

fn memfd(name: &CStr, flags: libc::c_uint) -> nix::Result<OwnedFd> {
    // SAFETY: `name` is a NUL-terminated string that lives for the call; the kernel only reads it.
    let made = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    Ok(own(Errno::result(made)?))
}

/// Forks.
///
/// Only single-threaded processes call this: the keeper, and tests' own keepers in processes of their own.
pub(crate) fn fork_single_threaded() -> nix::Result<ForkResult> {
    // SAFETY: after fork in a threaded process only async-signal-safe calls are allowed in the child. The keeper
    // never starts a thread (`keeper::run` checks that it has one), so no lock can be held by a thread that is
    // missing in the child, and the child may run any code.
    unsafe { nix::unistd::fork() }
}

/// Threads of this process.
pub(crate) fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// What a clone gave: to the caller the child's pid, to the child that it is the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cloned {
    /// In the caller.
    Parent(Pid),
    /// In the new process.
    Child,
}

/// The arguments of clone3 that this crate uses; the layout is the kernel's `struct clone_args`, version 0.
#[repr(C, align(8))]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Clones this process into new namespaces, as a child of its *parent*. The exit signal is inherited.
pub(crate) fn clone_for_parent(namespaces: i32) -> nix::Result<Cloned> {
    let namespaces = u64::try_from(namespaces).map_err(|_negative| Errno::EINVAL)?;
    let parent = u64::try_from(libc::CLONE_PARENT).map_err(|_negative| Errno::EINVAL)?;
    let args = CloneArgs {
        flags: namespaces | parent,
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a live `clone_args` of the size that is passed, with no pointer in it. Without CLONE_VM
    // the child has its own copy of memory and returns on a copy of this stack, like fork; the callers are
    // single-threaded children of the single-threaded keeper, so that copy is consistent.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match checked(result)? {
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent(Pid::from_raw(pid))),
    }
}

/// Executes the file behind a descriptor. Returns only on failure.
pub(crate) fn execute_descriptor(program: BorrowedFd<'_>, name: &CStr) -> Errno {
    let argv = [name.as_ptr(), std::ptr::null()];
    execute_with(program, &argv)
}

/// The same with one argument.
pub(crate) fn execute_descriptor_with(program: BorrowedFd<'_>, name: &CStr, argument: &CStr) -> Errno {
    let argv = [name.as_ptr(), argument.as_ptr(), std::ptr::null()];
    execute_with(program, &argv)
}

fn execute_with(program: BorrowedFd<'_>, argv: &[*const libc::c_char]) -> Errno {
    let envp: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: `argv` and `envp` end with a null pointer and point to NUL-terminated strings which the callers
    // keep alive across the call; the empty path is a static C string. On success the call does not return.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}

/// Ends this process at once, without running anything that it inherited.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition; it runs no handler and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) -> nix::Result<()> {
    // SAFETY: close_range takes numbers only. The callers are about to exec or to exit and use none of the
    // closed descriptors again; owners of them in this copy of the process are never dropped.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    checked(result).map(drop)
}

/// Makes `wanted` a copy of `descriptor` without the close-on-exec flag.
pub(crate) fn duplicate_to(descriptor: RawFd, wanted: RawFd) -> nix::Result<()> {
    // SAFETY: dup2 takes numbers only. The callers are single-threaded processes that are about to exec; the
    // file that `wanted` named before is not used again in them.
    let result = unsafe { libc::dup2(descriptor, wanted) };
    Errno::result(result).map(drop)
}

/// A descriptor for a child that is not yet reaped (so the pid cannot have been reused).
pub(crate) fn pidfd_open(child: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: pidfd_open takes numbers only and returns a new descriptor.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0) };
    Ok(own(checked(result)?))
}

/// SIGKILL through a pid descriptor.
pub(crate) fn pidfd_kill(process: BorrowedFd<'_>) -> nix::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    let number = process.as_raw_fd();
    // SAFETY: the descriptor is open; a null siginfo pointer is allowed and means "as kill(2)".
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, libc::SIGKILL, no_info, 0) };
    checked(result).map(drop)
}

/// What the kernel counted for a reaped child and everything that it had reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reaped {
    /// The child.
    pub(crate) pid: Pid,
    /// Its raw wait status.
    pub(crate) status: i32,
    /// CPU time, nanoseconds.
    pub(crate) cpu_nanos: u64,
    /// Largest resident set of one process, bytes.
    pub(crate) max_rss_bytes: u64,
}

/// Reaps one child that has ended, if there is one.
pub(crate) fn reap_any() -> nix::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: all-zero bytes are a valid `rusage`: it consists of integers only.
    let mut usage = unsafe { std::mem::zeroed::<libc::rusage>() };
    // SAFETY: both pointers are to live, writable locals of the right types.
    let result = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG | libc::__WALL, &raw mut usage) };
    match Errno::result(result) {
        Ok(0) | Err(Errno::ECHILD) => Ok(None),
        Ok(pid) => Ok(Some(Reaped {
            pid: Pid::from_raw(pid),
            status,
            cpu_nanos: nanos(usage.ru_utime).saturating_add(nanos(usage.ru_stime)),
            max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
        })),
        Err(errno) => Err(errno),
    }
}

fn nanos(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(micros.saturating_mul(1_000))
}

/// How soon a process gets its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// As every program.
    Normal,
    /// Above every program: the keeper, and the PID 1 of a cell that runs.
    High,
}

impl Urgency {
    fn nice(self) -> i32 {
        match self {
            Urgency::Normal => 0,
            Urgency::High => -10,
        }
    }
}

/// Sets the nice value of this process.
pub(crate) fn set_nice(urgency: Urgency) -> nix::Result<()> {
    set_nice_of(Pid::from_raw(0), urgency)
}

/// Sets the nice value of another process, which is not reaped yet.
pub(crate) fn set_nice_of(process: Pid, urgency: Urgency) -> nix::Result<()> {
    let number = u32::try_from(process.as_raw()).map_err(|_negative| Errno::ESRCH)?;
    // SAFETY: setpriority takes numbers only; 0 is the calling process.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, number, urgency.nice()) };
    Errno::result(result).map(drop)
}

/// A refused system call, as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notification {
    /// The kernel's number for the answer.
    pub(crate) id: u64,
    /// The system call.
    pub(crate) number: i32,
}

/// `_IOWR('!', 0, struct seccomp_notif)`.
const SECCOMP_IOCTL_NOTIF_RECV: libc::c_ulong = 0xc050_2100;
/// `_IOWR('!', 1, struct seccomp_notif_resp)`.
const SECCOMP_IOCTL_NOTIF_SEND: libc::c_ulong = 0xc018_2101;

/// Takes the next notification. Called only after the listener was readable; ENOENT means that the caller died.
pub(crate) fn receive_notification(listener: BorrowedFd<'_>) -> nix::Result<Notification> {
    // SAFETY: all-zero bytes are a valid `seccomp_notif` (integers only), and the kernel demands zeros.
    let mut notification = unsafe { std::mem::zeroed::<libc::seccomp_notif>() };
    let number = listener.as_raw_fd();
    // SAFETY: the request matches the type: the kernel writes one `seccomp_notif` to the live local.
    let result = unsafe { libc::ioctl(number, SECCOMP_IOCTL_NOTIF_RECV, &raw mut notification) };
    Errno::result(result)?;
    Ok(Notification {
        id: notification.id,
        number: notification.data.nr,
    })
}

/// Answers a notification with an error. Never lets the call continue.
pub(crate) fn refuse_notification(listener: BorrowedFd<'_>, id: u64, errno: Errno) -> nix::Result<()> {
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -(errno as i32),
        flags: 0,
    };
    let number = listener.as_raw_fd();
    // SAFETY: the request matches the type: the kernel reads one `seccomp_notif_resp` from the live local.
    let result = unsafe { libc::ioctl(number, SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    Errno::result(result).map(drop)
}

/// A fixed descriptor number of a process of ours between fork and exec, as a borrow.
pub(crate) fn borrow_fixed(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: `borrow_raw` needs a number that is not -1 and stays open while it is used. The callers have put
    // an open file at this number themselves, and in those processes nothing closes it before exec or exit.
    unsafe { BorrowedFd::borrow_raw(number) }
}
