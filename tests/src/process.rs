//! Programs of the host: started here and nowhere else in the harness, always with a deadline.

use crate::slack::stretched;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How often a condition of the host that gives no event is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A command of the host.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the harness starts processes"
)]
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

/// What a finished command left.
#[derive(Debug, Clone)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// From start to end.
    pub elapsed: Duration,
}

impl Done {
    /// Exit code, or 128 + signal, as a shell says it.
    #[must_use]
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }
}

/// A command that runs, its output being read.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    began: Instant,
    ends: Mutex<Ends>,
}

/// What a running command will still say.
#[derive(Debug)]
struct Ends {
    status: mpsc::Receiver<std::io::Result<ExitStatus>>,
    stdout: mpsc::Receiver<Vec<u8>>,
    stderr: mpsc::Receiver<Vec<u8>>,
}

/// Starts `command` with `stdin`; everything that it prints is read.
///
/// # Errors
/// When it cannot be started.
pub fn start(mut command: Command, stdin: Vec<u8>) -> Result<Running> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {command:?}"))?;
    let mut input = child.stdin.take().context("no stdin")?;
    // A program may end without reading its input: that is no fault of the test.
    std::thread::spawn(move || input.write_all(&stdin).ok());
    let stdout = read_all(child.stdout.take().context("no stdout")?);
    let stderr = read_all(child.stderr.take().context("no stderr")?);
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    Ok(Running {
        pid,
        began,
        ends: Mutex::new(Ends {
            status: wait_for(child),
            stdout,
            stderr,
        }),
    })
}

fn wait_for(mut child: Child) -> mpsc::Receiver<std::io::Result<ExitStatus>> {
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait()).ok());
    ended
}

fn read_all(mut from: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).ok();
        sender.send(all).ok()
    });
    receiver
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("failed to send {signal} to {}", self.pid))
    }

    /// Waits for the end; after `limit` (stretched on a slow machine) it is killed and that is an error.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn finish(self, limit: Duration) -> Result<Done> {
        let limit = stretched(limit);
        let ends = self.ends.into_inner().unwrap_or_else(PoisonError::into_inner);
        let status = match ends.status.recv_timeout(limit) {
            Ok(status) => status?,
            Err(_timeout) => {
                kill(self.pid, Signal::SIGKILL).ok();
                let output = ends
                    .stdout
                    .recv_timeout(stretched(Duration::from_secs(2)))
                    .unwrap_or_default();
                let errors = ends
                    .stderr
                    .recv_timeout(stretched(Duration::from_secs(2)))
                    .unwrap_or_default();
                bail!(
                    "not ended after {limit:?}; stdout {:?}; stderr {:?}",
                    String::from_utf8_lossy(&output),
                    String::from_utf8_lossy(&errors)
                );
            }
        };
        let elapsed = self.began.elapsed();
        // Whoever inherited the output and lives on must not hold the test up.
        let stdout = ends
            .stdout
            .recv_timeout(stretched(Duration::from_secs(5)))
            .context("stdout was not closed")?;
        let stderr = ends
            .stderr
            .recv_timeout(stretched(Duration::from_secs(5)))
            .context("stderr was not closed")?;
        Ok(Done {
            status,
            stdout,
            stderr,
            elapsed,
        })
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// When it cannot be started or does not end within `limit`.
pub fn run(command: Command, stdin: Vec<u8>, limit: Duration) -> Result<Done> {
    start(command, stdin)?.finish(limit)
}

/// Waits until `condition` holds, at most `limit` (stretched on a slow machine); says whether it did.
#[expect(
    clippy::disallowed_methods,
    reason = "the host tells of no event when a process, mount or directory is gone"
)]
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + stretched(limit);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A process outside every cell that a program tries to hurt; killed on drop.
#[derive(Debug)]
pub struct Decoy {
    child: Child,
}

impl Decoy {
    /// Starts it from `command`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self {
            child: command
                .spawn()
                .with_context(|| format!("failed to start {command:?}"))?,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Whether it still runs untouched.
    #[must_use]
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Decoy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
