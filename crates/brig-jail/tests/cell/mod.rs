//! A keeper in a few lines, for tests of `brig-jail-init` alone: `unshare` makes the namespaces, the test plays the
//! keeper and the daemon.
#![allow(dead_code, reason = "each test program uses another part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use brig_jail::control::{FROM_INIT_BYTES, FromInit, PlanMessage, ToInit};
use brig_jail::exec_spec::{ExecSpec, RunnerChannel, Text};
use brig_jail::plan::{CellShape, ImageEntry, JailPlan, LandlockPlan, Listener, ProcMount, Requirement};
use brig_jail::policy;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, socketpair,
};
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const INIT: &str = env!("CARGO_BIN_EXE_brig-jail-init");

/// A running `brig-jail-init` and the keeper's end of its control socket.
pub(crate) struct Init {
    pub(crate) control: OwnedFd,
    pub(crate) process: Child,
}

/// A cell that waits for its program.
pub(crate) struct Cell {
    pub(crate) init: Init,
    pub(crate) ready: FromInit,
    pub(crate) job: File,
    /// What a runner answers; kept open, as the daemon does.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) runner: File,
    pub(crate) stdin: File,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
    pub(crate) workspace: OwnedFd,
    pub(crate) user_namespace: OwnedFd,
    pub(crate) listener: Option<OwnedFd>,
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) ended: FromInit,
}

impl Ran {
    pub(crate) fn exit_code(&self) -> Option<i32> {
        let FromInit::Ended { wait_status, .. } = self.ended else {
            return None;
        };
        (wait_status & 0x7f == 0).then_some(wait_status >> 8)
    }
}

pub(crate) fn shape() -> CellShape {
    CellShape {
        workspace_bytes: 16 << 20,
        workspace_files: 256,
        tmp_bytes: 8 << 20,
        tmp_files: 128,
        shm_bytes: 8 << 20,
        file_size_bytes: 4 << 20,
        open_files: 256,
        processes: 32,
        process_memory_bytes: None,
        cpu_seconds: 10,
    }
}

fn image() -> Vec<ImageEntry> {
    let bind = |path: &str| ImageEntry::ReadOnlyBind {
        source: path.into(),
        target: path.into(),
    };
    let device = |path: &str| ImageEntry::Device {
        source: path.into(),
        target: path.into(),
    };
    let link = |link: &str, to: &str| ImageEntry::Symlink {
        link: link.into(),
        points_to: to.into(),
    };
    let mut image = vec![
        bind("/usr"),
        link("/bin", "usr/bin"),
        link("/sbin", "usr/sbin"),
        link("/lib", "usr/lib"),
        ImageEntry::File {
            target: "/etc/passwd".into(),
            content: "agent:x:10001:10001::/workspace:/bin/sh\n".to_owned(),
        },
        ImageEntry::File {
            target: "/etc/hosts".into(),
            content: "127.0.0.1 localhost cell\n::1 localhost cell\n".to_owned(),
        },
        device("/dev/null"),
        device("/dev/zero"),
        device("/dev/full"),
        device("/dev/random"),
        device("/dev/urandom"),
        device("/dev/tty"),
    ];
    if Path::new("/lib64").exists() {
        image.push(link("/lib64", "usr/lib64"));
    }
    if Path::new("/etc/ld.so.cache").exists() {
        image.push(bind("/etc/ld.so.cache"));
    }
    image
}

/// The host's own programs, read-only.
pub(crate) fn plan() -> JailPlan {
    JailPlan {
        shape: shape(),
        image: image(),
        proc_mount: ProcMount::Own,
        host_name: "cell".to_owned(),
        landlock: LandlockPlan {
            read_execute: ["/usr", "/etc", "/proc", "/dev"].map(Into::into).to_vec(),
            read_write: [
                "/workspace",
                "/tmp",
                "/dev/shm",
                "/dev/null",
                "/dev/zero",
                "/dev/full",
                "/dev/tty",
                "/dev/pts",
            ]
            .map(Into::into)
            .to_vec(),
            requirement: Requirement::Required,
        },
        filters: policy::compile(Listener::Keeper).unwrap().stack,
        disabled: Vec::new(),
    }
}

impl Init {
    /// Starts PID 1 in namespaces of its own, with id 10001 mapped to the caller.
    pub(crate) fn start() -> Init {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test starts the program under test")]
        let process = Command::new("/bin/sh")
            .arg("-c")
            .arg(
                "exec unshare --user --map-user=10001 --map-group=10001 --keep-caps --pid --fork --mount --net \
                 --ipc --uts --cgroup --kill-child -- \"$0\" 3<&0 </dev/null",
            )
            .arg(INIT)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::from(theirs))
            .spawn()
            .unwrap();
        Init {
            control: ours,
            process,
        }
    }

    pub(crate) fn say(&self, record: ToInit) {
        send(self.control.as_raw_fd(), &record.encode(), MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    /// The next record, or `None` at the end, with its descriptors.
    pub(crate) fn hear(&self) -> (Option<FromInit>, Vec<OwnedFd>) {
        let mut buffer = [0; FROM_INIT_BYTES + 1];
        let mut space = nix::cmsg_space!([RawFd; 8]);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(
            self.control.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )
        .unwrap();
        let mut descriptors = Vec::new();
        for one in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(numbers) = one {
                for number in numbers {
                    // SAFETY: recvmsg has just installed this descriptor, and nobody else owns it.
                    descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
                }
            }
        }
        let length = message.bytes;
        (FromInit::decode(&buffer[..length]), descriptors)
    }

    pub(crate) fn send_plan(&self, plan: &JailPlan) {
        let message = PlanMessage::pack(plan).unwrap();
        match message.memfd {
            None => {
                send(self.control.as_raw_fd(), &message.head, MsgFlags::MSG_NOSIGNAL).unwrap();
            }
            Some(bytes) => {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&bytes).unwrap();
                let numbers = [file.as_raw_fd()];
                let rights = [nix::sys::socket::ControlMessage::ScmRights(&numbers)];
                nix::sys::socket::sendmsg::<()>(
                    self.control.as_raw_fd(),
                    &[std::io::IoSlice::new(&message.head)],
                    &rights,
                    MsgFlags::MSG_NOSIGNAL,
                    None,
                )
                .unwrap();
            }
        }
    }

    /// Sends the plan and takes the answer.
    pub(crate) fn build(self, plan: &JailPlan) -> Result<Cell, FromInit> {
        assert_eq!(self.hear().0, Some(FromInit::Forked));
        self.send_plan(plan);
        let (answer, descriptors) = self.hear();
        let ready = answer.expect("an answer to the plan");
        if !matches!(ready, FromInit::Ready { .. }) {
            return Err(ready);
        }
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().expect("a descriptor");
        Ok(Cell {
            ready,
            job: next().into(),
            stdin: next().into(),
            stdout: next().into(),
            stderr: next().into(),
            runner: next().into(),
            workspace: next(),
            user_namespace: next(),
            listener: descriptors.next(),
            init: self,
        })
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

pub(crate) fn spec(argv: &[&str]) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|one| Text::from(*one)).collect(),
        env: vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("HOME".into(), "/workspace".into()),
        ],
        cwd: "/workspace".into(),
        runner_channel: RunnerChannel::Close,
    }
}

impl Cell {
    pub(crate) fn build(plan: &JailPlan) -> Cell {
        match Init::start().build(plan) {
            Ok(cell) => cell,
            Err(answer) => panic!("the cell was not built: {answer:?}"),
        }
    }

    pub(crate) fn execute(&mut self, spec: &ExecSpec) {
        self.job.write_all(&spec.encode().unwrap()).unwrap();
    }

    /// Reads everything until the cell ends. Refused calls stay unanswered by the test unless it closes the
    /// listener, so it does: the kernel answers ENOSYS then.
    pub(crate) fn finish(mut self) -> Ran {
        drop(self.listener.take());
        drop(self.stdin);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.stdout.read_to_end(&mut stdout).unwrap();
        self.stderr.read_to_end(&mut stderr).unwrap();
        let ended = self.init.hear().0.expect("a last word");
        Ran {
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            ended,
        }
    }
}

/// Builds a cell and runs one command in it.
pub(crate) fn run(plan: &JailPlan, argv: &[&str]) -> Ran {
    let mut cell = Cell::build(plan);
    cell.init.say(ToInit::Start {
        wall_nanos: 20_000_000_000,
        lease_until_nanos: 0,
    });
    cell.execute(&spec(argv));
    cell.finish()
}
