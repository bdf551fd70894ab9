//! A daemon of the measurement's own, in a temporary directory: a real `brig serve`, started as a person would.

use crate::process;
use crate::remote::Remote;
use anyhow::{Context, bail};
use brig_api::client::Address;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::process::Child;

/// It is stopped and its directory removed in the end.
#[derive(Debug)]
pub(crate) struct PrivateDaemon {
    child: Child,
    address: Address,
    // Removed on drop, after the daemon is gone.
    _directory: tempfile::TempDir,
}

impl PrivateDaemon {
    /// Starts it, with this in its configuration file, and waits until it says that it is ready.
    pub(crate) async fn start(config: Option<&str>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("brig-bench-").tempdir()?;
        let socket = directory.path().join("brig.sock");
        let listen = format!("unix:{}", socket.display());
        let data = directory.path().join("data");
        let data = data
            .to_str()
            .context("the temporary directory's name is not text")?;
        let mut args = vec!["serve", "--listen", &listen, "--data", data];
        let file = directory.path().join("brig.toml");
        if let Some(config) = config {
            std::fs::write(&file, config).context("cannot write a configuration file")?;
            args.push("--config");
            args.push(
                file.to_str()
                    .context("the temporary directory's name is not text")?,
            );
        }
        let mut child = process::spawn_self(&args, directory.path()).context("cannot start brig serve")?;
        let stderr = child.stderr.take().context("the daemon has no stderr")?;
        let (ready, heard) = tokio::sync::oneshot::channel();
        // Reads for as long as the daemon lives, so that it never blocks on a full pipe.
        tokio::task::spawn_blocking(move || {
            let mut ready = Some(ready);
            let mut said = Vec::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let is_ready = line.contains(super::super::serve::READY);
                said.push(line);
                if is_ready && let Some(ready) = ready.take() {
                    drop(ready.send(None));
                }
            }
            if let Some(ready) = ready {
                drop(ready.send(Some(said.join("\n"))));
            }
        });
        let mut daemon = Self {
            child,
            address: Address::Unix(socket),
            _directory: directory,
        };
        match heard.await {
            Ok(None) => Ok(daemon),
            Ok(Some(said)) => {
                daemon.child.wait().context("cannot wait for brig serve")?;
                bail!("brig serve did not start:\n{said}")
            }
            Err(_) => bail!("nothing was heard of brig serve"),
        }
    }

    /// A client of it.
    pub(crate) async fn remote(&self) -> anyhow::Result<Remote> {
        Remote::connect(&self.address).await
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        if let Ok(pid) = pid {
            // It may have died already; then there is nothing to stop.
            kill(pid, Signal::SIGTERM).ok();
        }
        drop(tokio::task::spawn_blocking(move || self.child.wait()).await);
    }
}

impl Drop for PrivateDaemon {
    fn drop(&mut self) {
        // Only on the way out of an error: a daemon that nobody asks for anything any more.
        drop(self.child.kill());
    }
}
