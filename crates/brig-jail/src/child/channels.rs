//! The sockets and pipes of a cell: the control socket, the socket between PID 1 and the stub, and the pipes whose
//! other ends the daemon gets.

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use nix::unistd::Pid;
use std::io::{IoSlice, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::{Step, at, files::Fence};
use crate::control::{FROM_INIT_BYTES, FromInit, PLAN_IN_MEMFD, PLAN_INLINE, PLAN_INLINE_MAX, PLAN_MAX};
use crate::plan::{JailPlan, PlanError};
use crate::stage::{SetupFailure, Stage};
use crate::sys::child as sys;

/// The first descriptor that nobody gave to this program on purpose.
const FIRST_STRAY_FD: u32 = 4;

/// No ambient trust: nothing inherited stays open but the control socket, stdio is `/dev/null`, nobody may look
/// into this process, no terminal is attached.
pub(super) fn sanitise(control: &OwnedFd) -> Step<()> {
    let failed = at(Stage::Channels, 2);
    // PID 1 has nothing to do until the plan comes; afterwards every read says that it does not wait.
    nix::fcntl::fcntl(control, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).map_err(&failed)?;
    nix::fcntl::fcntl(
        control,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )
    .map_err(&failed)?;
    sys::close_from(FIRST_STRAY_FD).map_err(&failed)?;
    let null = nix::fcntl::open(
        "/dev/null",
        OFlag::O_RDWR | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )
    .map_err(&failed)?;
    for target in 0..3 {
        sys::duplicate_onto(null.as_fd(), target).map_err(&failed)?;
    }
    nix::sys::prctl::set_dumpable(false).map_err(&failed)?;
    // What the caller of Brig ignored (a shell does that for what runs in the background) is nothing to a cell.
    default_signals().map_err(&failed)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    match nix::unistd::setsid() {
        // EPERM: already the leader of a group, so the keeper has done it.
        Ok(_) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// The socket between PID 1 and the stub.
pub(super) fn socket_pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// Sends one message with descriptors.
pub(super) fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[RawFd]) -> nix::Result<()> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    let control: &[ControlMessage<'_>] = if descriptors.is_empty() { &[] } else { &rights };
    let sent = sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(Errno::EMSGSIZE)
    }
}

/// Most descriptors that any message here carries.
const DESCRIPTORS_MAX: usize = 8;

/// Receives one message; empty bytes mean end of file.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            descriptors.extend(sys::own_received(&numbers));
        }
    }
    if message
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
    {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, descriptors))
}

/// A plan and the message it came in, which PID 1 hands on to the stub.
pub(super) struct PlanSource {
    pub(super) plan: JailPlan,
    head: Vec<u8>,
    memfd: Option<OwnedFd>,
}

fn plan_failure(error: PlanError) -> SetupFailure {
    at(Stage::Plan, error as u16)(Errno::EINVAL)
}

/// Waits for the plan. `None`: the other side is gone.
pub(super) fn receive_plan(socket: &OwnedFd) -> Step<Option<PlanSource>> {
    let failed = at(Stage::Plan, 0);
    let mut buffer = vec![0; PLAN_INLINE_MAX + 1];
    let (length, descriptors) = receive(socket, &mut buffer).map_err(&failed)?;
    buffer.truncate(length);
    let memfd = descriptors.into_iter().next();
    let json = match (buffer.split_first(), &memfd) {
        (None, _) => return Ok(None),
        (Some((&PLAN_INLINE, json)), None) => json.to_vec(),
        (Some((&PLAN_IN_MEMFD, [])), Some(memfd)) => read_memfd(memfd).map_err(&failed)?,
        (Some(_), _) => return Err(plan_failure(PlanError::Malformed)),
    };
    let plan = JailPlan::decode(&json).map_err(plan_failure)?;
    Ok(Some(PlanSource {
        plan,
        head: buffer,
        memfd,
    }))
}

/// Reads a memfd from its start, whatever its offset (PID 1 and the stub share it).
fn read_memfd(memfd: &OwnedFd) -> nix::Result<Vec<u8>> {
    nix::unistd::lseek(memfd, 0, nix::unistd::Whence::SeekSet)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(PLAN_MAX).map_err(|_too_big| Errno::EFBIG)?;
    let file = std::fs::File::from(memfd.try_clone().map_err(|_full| Errno::EMFILE)?);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|_unreadable| Errno::EIO)?;
    if bytes.len() > PLAN_MAX {
        Err(Errno::EFBIG)
    } else {
        Ok(bytes)
    }
}

/// Gives the stub the plan as it came.
pub(super) fn forward_plan(stub: &OwnedFd, source: &PlanSource) -> nix::Result<()> {
    let descriptors: Vec<RawFd> = source.memfd.iter().map(AsRawFd::as_raw_fd).collect();
    send(stub, &source.head, &descriptors)
}

/// What the stub said when it was ready, with the descriptors for the keeper.
pub(super) struct StubReport {
    landlock: Fence,
    listener: bool,
    descriptors: Vec<OwnedFd>,
}

/// What PID 1 heard while it waited for the stub.
pub(super) enum Received {
    Report(StubReport),
    KeeperGone,
}

/// Waits until the stub is ready or has failed. The keeper is watched too: when it is gone or says anything but
/// the plan, which can only be "kill", there is nothing to wait for.
pub(super) fn wait_for_stub(stub: &OwnedFd, control: &OwnedFd) -> Step<Received> {
    let failed = at(Stage::Channels, 3);
    loop {
        let mut watched = [
            PollFd::new(stub.as_fd(), PollFlags::POLLIN),
            PollFd::new(control.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(failed(errno)),
        }
        let [from_stub, from_keeper] = watched;
        if from_keeper.any().unwrap_or(true) {
            return Ok(Received::KeeperGone);
        }
        if from_stub.any().unwrap_or(true) {
            return read_report(stub);
        }
    }
}

fn read_report(stub: &OwnedFd) -> Step<Received> {
    let mut buffer = [0; FROM_INIT_BYTES];
    let (length, descriptors) = receive(stub, &mut buffer).map_err(at(Stage::Channels, 3))?;
    match FromInit::decode(&buffer[..length]) {
        Some(FromInit::Ready {
            landlock_abi,
            landlock_full,
            listener,
            main_pid: _,
        }) => {
            let landlock = Fence {
                abi: landlock_abi,
                full: landlock_full,
            };
            Ok(Received::Report(StubReport {
                landlock,
                listener,
                descriptors,
            }))
        }
        Some(FromInit::Failed(failure)) => Err(failure),
        // End of file: the stub died without a word (killed, or its filter killed it).
        None | Some(FromInit::Forked | FromInit::Ended { .. }) => Err(at(Stage::Syscalls, 9)(Errno::EPIPE)),
    }
}

/// Tells the keeper that the cell is ready, with all descriptors in the order of [`FromInit::Ready`].
pub(super) fn announce(
    control: &OwnedFd,
    report: StubReport,
    [workspace, user_namespace]: [OwnedFd; 2],
    main: Pid,
) -> Step<()> {
    let mut stub_ends = report.descriptors.into_iter();
    let mut all: Vec<OwnedFd> = stub_ends.by_ref().take(DAEMON_ENDS).collect();
    all.push(workspace);
    all.push(user_namespace);
    all.extend(stub_ends);
    let numbers: Vec<RawFd> = all.iter().map(AsRawFd::as_raw_fd).collect();
    let ready = FromInit::Ready {
        landlock_abi: report.landlock.abi,
        landlock_full: report.landlock.full,
        listener: report.listener,
        main_pid: main.as_raw().cast_unsigned(),
    };
    send(control, &ready.encode(), &numbers).map_err(at(Stage::Channels, 4))
}

/// Pipes that end at the daemon: job, stdin, stdout, stderr, runner.
const DAEMON_ENDS: usize = 5;

/// All pipes, made by the agent user, so that the program can reopen `/dev/stdout`.
pub(crate) struct Channels {
    /// Job, stdin, stdout, stderr, runner.
    pub(crate) daemon: [OwnedFd; DAEMON_ENDS],
    pub(crate) program: ProgramEnds,
}

/// The program's ends.
pub(crate) struct ProgramEnds {
    pub(super) job: OwnedFd,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) runner: OwnedFd,
}

impl Channels {
    pub(crate) fn open() -> Step<Channels> {
        let failed = at(Stage::Channels, 5);
        let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC);
        let (job, job_write) = pipe().map_err(&failed)?;
        let (runner_read, runner) = pipe().map_err(&failed)?;
        let (stdin, stdin_write) = pipe().map_err(&failed)?;
        let (stdout_read, stdout) = pipe().map_err(&failed)?;
        let (stderr_read, stderr) = pipe().map_err(&failed)?;
        let daemon = [job_write, stdin_write, stdout_read, stderr_read, runner_read];
        Ok(Channels {
            daemon,
            program: ProgramEnds {
                job,
                stdin,
                stdout,
                stderr,
                runner,
            },
        })
    }

    /// Sends the daemon's ends to PID 1 and keeps the program's.
    pub(super) fn report(
        self,
        inner: &OwnedFd,
        landlock: Fence,
        listener: Option<OwnedFd>,
    ) -> Step<ProgramEnds> {
        let mut numbers: Vec<RawFd> = self.daemon.iter().map(AsRawFd::as_raw_fd).collect();
        numbers.extend(listener.as_ref().map(AsRawFd::as_raw_fd));
        let ready = FromInit::Ready {
            landlock_abi: landlock.abi,
            landlock_full: landlock.full,
            listener: listener.is_some(),
            main_pid: 0,
        };
        send(inner, &ready.encode(), &numbers).map_err(at(Stage::Channels, 6))?;
        Ok(self.program)
    }
}

/// All signals do what they do by default, none is blocked.
pub(crate) fn default_signals() -> nix::Result<()> {
    for signal in sys::changeable_signals() {
        sys::default_signal(signal)?;
    }
    SigSet::empty().thread_set_mask()
}
