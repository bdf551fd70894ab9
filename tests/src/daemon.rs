//! A real `brig serve` for the tests.

use crate::modes::Mode;
use crate::process::{self, Running, wait_until};
use crate::stage::Stage;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How long a daemon may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A daemon on a unix socket in a directory of its own; stopped on drop.
#[derive(Debug)]
pub struct Daemon {
    mode: Mode,
    /// Kept alive: the program and the directory are in it.
    stage: Arc<Stage>,
    directory: tempfile::TempDir,
    running: Option<Running>,
    extra: Vec<String>,
}

impl Daemon {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(stage: &Arc<Stage>, mode: Mode, extra: &[&str]) -> Result<Self> {
        let extra = extra.iter().map(|&argument| argument.to_owned()).collect();
        let mut daemon = Self {
            mode,
            stage: Arc::clone(stage),
            directory: stage.directory(mode)?,
            running: None,
            extra,
        };
        daemon.start_again()?;
        Ok(daemon)
    }

    /// Starts one with this configuration.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(stage: &Arc<Stage>, mode: Mode, config: &str) -> Result<Self> {
        let directory = stage.directory(mode)?;
        let path = directory.path().join("brig.toml");
        std::fs::write(&path, config)?;
        let extra = vec!["--config".to_owned(), path.display().to_string()];
        let mut daemon = Self {
            mode,
            stage: Arc::clone(stage),
            directory,
            running: None,
            extra,
        };
        daemon.start_again()?;
        Ok(daemon)
    }

    /// Starts it (again) on the same data and socket.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        let running = process::start(self.serve_command(), Vec::new())?;
        let socket = self.socket();
        let ready = wait_until(READY_WITHIN, || UnixStream::connect(&socket).is_ok());
        if !ready {
            running.signal(Signal::SIGKILL).ok();
            let done = running.finish(Duration::from_secs(10))?;
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            anyhow::bail!(
                "brig serve does not listen after {READY_WITHIN:?}: exit {}, {said}",
                done.code()
            );
        }
        self.running = Some(running);
        Ok(())
    }

    /// The command of this daemon, for tries that are to fail.
    #[must_use]
    pub fn serve_command(&self) -> Command {
        self.serve_on(&self.socket())
    }

    /// The same on another socket.
    #[must_use]
    pub fn serve_on(&self, socket: &Path) -> Command {
        let mut command = self.mode.command(&self.stage.brig);
        command
            .arg("serve")
            .arg("--listen")
            .arg(format!("unix:{}", socket.display()));
        command.arg("--data").arg(self.data()).args(&self.extra);
        command
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path());
        command
    }

    /// A `brig` command that talks to it.
    #[must_use]
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.mode.command(&self.stage.brig);
        command.args(arguments).env("BRIG_ADDRESS", self.address());
        command
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path());
        command
    }

    /// Its address as clients write it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("brig.sock")
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A directory that its user can write.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process that was started: the keeper.
    ///
    /// # Errors
    /// When it does not run.
    pub fn keeper(&self) -> Result<u32> {
        let pid = self.running.as_ref().context("no daemon runs")?.pid();
        Ok(u32::try_from(pid.as_raw())?)
    }

    /// Its child that reads the network.
    ///
    /// # Errors
    /// When it is not there.
    pub fn daemon(&self) -> Result<u32> {
        let keeper = self.keeper()?;
        let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
        let found = children.split_whitespace().find_map(|pid| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            String::from_utf8_lossy(&arguments)
                .contains("__daemon")
                .then(|| pid.parse().ok())
                .flatten()
        });
        found.context("the keeper has no daemon")
    }

    /// Sends a signal to the process that was started.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.as_ref().context("no daemon runs")?.signal(signal)
    }

    /// Waits for its end; exit code and what it said.
    ///
    /// # Errors
    /// When it does not end.
    pub fn ended(&mut self, limit: Duration) -> Result<(i32, String)> {
        let done = self.running.take().context("no daemon runs")?.finish(limit)?;
        Ok((done.code(), String::from_utf8_lossy(&done.stderr).into_owned()))
    }

    /// Ends it in order and asserts that it was in order.
    ///
    /// # Errors
    /// When it ends with another code than 0.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let (code, said) = self.ended(Duration::from_secs(30))?;
        ensure!(code == 0, "brig serve ended with {code}: {said}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(Signal::SIGTERM).ok();
            running.finish(Duration::from_secs(10)).ok();
        }
    }
}
