//! The daemon's side in a few lines: a container's PID 1 at the other end of two pipes.
//!
//! The container is made by `unshare`, as close to an engine's as it can be had without one: own pid and mount
//! namespaces, a root that is put together, the user 10001 without a capability, Brig's own filter. `BRIG_CONTAINER` names
//! a command to use in its place, `docker run -i …` for example, whose streams are PID 1's.

use brig_jail::container::flow::{Credit, Window};
use brig_jail::container::wire::{
    Decoder, Down, DownChannel, Ended, Posture, Seal, Start, Up, UpChannel, VERSION, WireError,
};
use brig_jail::exec_spec::{ExecSpec, RunnerChannel, Text};
use brig_jail::files::{FileReply, FileRequest, FrameReader};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub const INIT: &str = env!("CARGO_BIN_EXE_brig-jail-init");
pub const SECOND: u64 = 1_000_000_000;
pub const PATIENCE: Duration = Duration::from_secs(30);

/// First argument of this program when it is to put the filter on: `FILTERED PROGRAM ARGS…`.
pub const FILTERED: &str = "__filtered";

/// A root of `/usr` and what programs expect around it, then PID 1 of it. `$1` is init, `$2` this program, `$3` what
/// `setpriv` is to do, `$4` what is different.
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
if [ "$4" != nowork ]; then mount -t tmpfs -o size=16m,mode=700,uid=10001,gid=10001 tmpfs workspace; else rmdir workspace; fi
mount -t proc proc proc
: > brig/init; mount --bind "$1" brig/init
: > brig/test; mount --bind "$2" brig/test
set -- "$4" prlimit --core=1:1 chroot . setpriv --no-new-privs $3 /brig/test __filtered /brig/init --container
how=$1; shift
if [ "$how" = child ]; then "$@" || echo "the one who started it is alive"; exit; fi
exec "$@"
"#;

/// What the container lacks, for the tests of what PID 1 insists on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacks {
    Nothing,
    Workspace,
    TheLossOfItsCapabilities,
    TheFirstPlace,
}

/// A running PID 1.
pub struct Guest {
    pub process: Child,
    pub input: Option<ChildStdin>,
    frames: Receiver<Result<Vec<u8>, ()>>,
    pub decoder: Decoder<Up>,
    pub posture: Option<Posture>,
    windows: HashMap<UpChannel, Window>,
    pub credit: HashMap<DownChannel, Credit>,
    /// Whether credit is given back as bytes come.
    pub generous: bool,
    /// Channels whose end has been heard.
    pub closed: Vec<UpChannel>,
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub runner: Vec<u8>,
    pub ended: Ended,
}

pub fn is_foreign() -> bool {
    std::env::var_os("BRIG_CONTAINER").is_some()
}

/// gVisor is not Linux: some of what it lets a program do is caught later than here.
pub fn is_gvisor() -> bool {
    std::env::var("BRIG_CONTAINER").is_ok_and(|command| command.contains("runsc"))
}

fn command(lacks: Lacks) -> Command {
    if let Ok(command) = std::env::var("BRIG_CONTAINER") {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("exec {command}")]);
        return shell;
    }
    // As root without a user namespace, as an engine does it: where the user that runs the tests is the owner of what is
    // closed to the program, it would not be. Everybody else needs one.
    let is_root = nix::unistd::geteuid().is_root();
    let who = if is_root {
        "--reuid=10001 --regid=10001 --clear-groups"
    } else {
        ""
    };
    let capabilities = match lacks {
        Lacks::TheLossOfItsCapabilities => "--inh-caps=+chown --ambient-caps=+chown",
        Lacks::Nothing | Lacks::Workspace | Lacks::TheFirstPlace => {
            "--ambient-caps=-all --inh-caps=-all --bounding-set=-all"
        }
    };
    let mut command = Command::new("unshare");
    if !is_root {
        command.args(["--user", "--map-user=10001", "--map-group=10001", "--keep-caps"]);
    }
    command.args([
        "--pid",
        "--kill-child",
        "--fork",
        "--mount",
        "--net",
        "--ipc",
        "--uts",
        "--",
    ]);
    command.args(["/bin/sh", "-c", BUILD, "sh", INIT]);
    command.arg(std::env::current_exe().unwrap());
    command.arg(format!("{who} {capabilities}"));
    command.arg(match lacks {
        Lacks::Workspace => "nowork",
        // Never without a pid namespace at all: what is tried is that it kills nobody where it is not the first.
        Lacks::TheFirstPlace => "child",
        Lacks::Nothing | Lacks::TheLossOfItsCapabilities => "work",
    });
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

impl Guest {
    /// A container that waits for orders.
    pub fn start() -> Guest {
        let mut guest = Guest::start_lacking(Lacks::Nothing);
        match guest.next() {
            Up::Hello { version, posture } => {
                assert_eq!(version, VERSION);
                guest.posture = Some(posture);
            }
            other => panic!("not a greeting: {other:?}"),
        }
        guest
    }

    pub fn start_lacking(lacks: Lacks) -> Guest {
        let mut process = command(lacks)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (input, mut output) = (process.stdin.take(), process.stdout.take().unwrap());
        let (sender, frames) = channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            loop {
                let part = match output.read(&mut buffer) {
                    Ok(0) | Err(_) => Err(()),
                    Ok(length) => Ok(buffer[..length].to_vec()),
                };
                if sender.send(part.clone()).is_err() || part.is_err() {
                    return;
                }
            }
        });
        Guest {
            process,
            input,
            frames,
            decoder: Decoder::new(),
            posture: None,
            windows: HashMap::new(),
            credit: HashMap::new(),
            generous: true,
            closed: Vec::new(),
        }
    }

    pub fn say(&mut self, frame: &Down) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.input.as_mut().unwrap().write_all(&bytes).unwrap();
    }

    pub fn data(&mut self, channel: DownChannel, bytes: &[u8]) {
        self.credit
            .entry(channel)
            .or_default()
            .spend(bytes.len())
            .unwrap();
        self.say(&Down::Data {
            channel,
            bytes: bytes.to_vec(),
        });
    }

    /// The next frame; `None`: the end of the stream.
    pub fn hear(&mut self, patience: Duration) -> Result<Option<Up>, Silence> {
        let until = Instant::now() + patience;
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(Silence::Broken)? {
                self.account(&frame);
                return Ok(Some(frame));
            }
            match self
                .frames
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(Ok(bytes)) => self.decoder.push(&bytes),
                Ok(Err(())) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => return Err(Silence::Nothing),
            }
        }
    }

    pub fn next(&mut self) -> Up {
        self.hear(PATIENCE).unwrap().expect("a frame, and not the end")
    }

    fn account(&mut self, frame: &Up) {
        match frame {
            Up::Data { channel, bytes } => {
                let window = self.windows.entry(*channel).or_default();
                window.receive(bytes.len()).expect("within the window");
                if self.generous {
                    window.consume(bytes.len());
                    let bytes = window.settle();
                    if bytes > 0 {
                        self.say(&Down::Credit {
                            channel: *channel,
                            bytes,
                        });
                    }
                }
            }
            Up::Eof(channel) => self.closed.push(*channel),
            Up::Credit { channel, bytes } => {
                self.credit.entry(*channel).or_default().give(*bytes).unwrap();
            }
            _ => {}
        }
    }

    /// From now on, and for what has come already, credit is given back.
    pub fn be_generous(&mut self) {
        self.generous = true;
        for channel in UpChannel::ALL {
            let window = self.windows.entry(channel).or_default();
            window.consume(usize::MAX);
            let bytes = window.settle();
            if bytes > 0 {
                self.say(&Down::Credit { channel, bytes });
            }
        }
    }

    pub fn order(&mut self, start: Start) {
        self.decoder.expect(start.seal);
        self.say(&Down::Start(start));
    }

    /// Starts a command, with these limits.
    pub fn begin(&mut self, start: Start, argv: &[&str]) {
        self.order(start);
        let spec = spec(argv, RunnerChannel::Close).encode().unwrap();
        self.data(DownChannel::Job, &spec);
        self.started();
    }

    pub fn started(&mut self) {
        loop {
            match self.next() {
                Up::Started => return,
                Up::Credit { .. } => {}
                other => panic!("not started: {other:?}"),
            }
        }
    }

    /// Reads everything to the end of the job.
    pub fn finish(&mut self) -> Ran {
        let mut out: HashMap<UpChannel, Vec<u8>> = HashMap::new();
        let mut open = vec![UpChannel::Stdout, UpChannel::Stderr, UpChannel::Runner];
        open.retain(|one| !self.closed.contains(one));
        let ended = loop {
            match self.next() {
                Up::Data { channel, bytes } => out.entry(channel).or_default().extend(bytes),
                Up::Eof(UpChannel::Files) => {}
                Up::Eof(channel) => open.retain(|one| *one != channel),
                Up::Credit { .. } => {}
                Up::Ended(ended) => break ended,
                other => panic!("{other:?}"),
            }
        };
        assert!(open.is_empty(), "the end came before that of {open:?}");
        let mut take = |channel| out.remove(&channel).unwrap_or_default();
        Ran {
            stdout: String::from_utf8_lossy(&take(UpChannel::Stdout)).into_owned(),
            stderr: String::from_utf8_lossy(&take(UpChannel::Stderr)).into_owned(),
            runner: take(UpChannel::Runner),
            ended,
        }
    }

    /// One conversation about files: requests, and everything that is answered.
    pub fn files(&mut self, requests: &[FileRequest]) -> Vec<FileReply> {
        self.credit.remove(&DownChannel::Files);
        self.windows.remove(&UpChannel::Files);
        self.say(&Down::OpenFiles);
        for request in requests {
            self.data(DownChannel::Files, &request.encode());
        }
        self.say(&Down::Eof(DownChannel::Files));
        let mut reader = FrameReader::new();
        let mut replies = Vec::new();
        loop {
            match self.next() {
                Up::Data {
                    channel: UpChannel::Files,
                    bytes,
                } => {
                    reader.push(&bytes);
                    while let Some(frame) = reader.next_frame().unwrap() {
                        replies.push(FileReply::decode(&frame).unwrap());
                    }
                }
                Up::Eof(UpChannel::Files) => return replies,
                Up::Credit { .. } | Up::Eof(UpChannel::Runner) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // The end of the stream is the end of the container; a foreign command has to see it as well.
        drop(self.input.take());
        if !is_foreign() {
            self.process.kill().ok();
        }
        self.process.wait().ok();
    }
}

/// Why no frame came.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    Nothing,
    Broken(WireError),
}

pub fn limits() -> Start {
    Start {
        wall_nanos: 25 * SECOND,
        cpu_nanos: 20 * SECOND,
        lease_nanos: 0,
        file_size_bytes: 4 << 20,
        open_files: 256,
        seal: Seal::fresh(),
    }
}

pub fn spec(argv: &[&str], runner_channel: RunnerChannel) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|one| Text::from(*one)).collect(),
        env: vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("HOME".into(), "/workspace".into()),
        ],
        cwd: "/workspace".into(),
        runner_channel,
    }
}

/// A container that runs one command with an empty standard input.
pub fn run(argv: &[&str]) -> Ran {
    let mut guest = Guest::start();
    guest.begin(limits(), argv);
    guest.say(&Down::Eof(DownChannel::Stdin));
    guest.finish()
}

pub fn shell(script: &str) -> Ran {
    run(&["/bin/sh", "-c", script])
}

pub fn python(script: &str) -> Ran {
    run(&["/usr/bin/python3", "-I", "-c", script])
}
