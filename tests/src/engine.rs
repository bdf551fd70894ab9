//! The Docker engine of the tests (`tests/engine`, named by `BRIG_TESTS_ENGINE`): asked here by the harness, in plain
//! HTTP over its socket, and believed about nothing that the host can tell itself.

use crate::process;
use crate::skip::Skip;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An engine that does not answer for so long hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// An engine, by its socket.
#[derive(Debug, Clone)]
pub struct Engine {
    socket: PathBuf,
}

/// A container of Brig's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// As the engine has it.
    pub id: String,
    /// It waits for a job.
    pub is_spare: bool,
}

/// What an engine answered: the status of HTTP and the object.
#[derive(Debug)]
pub struct Answer {
    /// 200 and so on.
    pub status: u16,
    /// The body; null where there is none.
    pub body: Value,
}

impl Engine {
    /// The engine of the tests.
    ///
    /// # Errors
    /// A skip where there is none.
    pub fn of_the_tests() -> Result<Self, Skip> {
        let named = std::env::var_os("BRIG_TESTS_ENGINE").filter(|name| !name.is_empty());
        match named {
            Some(socket) => Ok(Self::at(Path::new(&socket))),
            None => Err(Skip::because(
                "no engine: BRIG_TESTS_ENGINE is not set (tests/engine start)",
            )),
        }
    }

    /// An engine with this socket.
    #[must_use]
    pub fn at(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The name under which `tests/engine` knows it: its control groups carry it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.socket.parent()?.file_name()?.to_str()
    }

    /// The name of the group that holds the groups of its containers, in every tree.
    #[must_use]
    pub fn groups(&self) -> Option<String> {
        Some(format!("brig-tests-engine-{}", self.name()?))
    }

    /// Asks.
    ///
    /// # Errors
    /// When it does not answer in HTTP and JSON.
    pub fn ask(&self, method: &str, path: &str) -> Result<Answer> {
        self.send(method, path, "")
    }

    /// Asks with an object.
    ///
    /// # Errors
    /// As [`Engine::ask`].
    pub fn send(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let mut stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("no engine at {}", self.socket.display()))?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        // Version 1.0: the answer ends where the connection ends.
        write!(
            stream,
            "{method} /v1.41{path} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut text = String::new();
        stream
            .read_to_string(&mut text)
            .context("the engine does not answer")?;
        let (head, body) = text.split_once("\r\n\r\n").context("no answer in HTTP")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let body = if body.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).with_context(|| format!("{path}: {body}"))?
        };
        Ok(Answer { status, body })
    }

    /// Asks for an object that must be there.
    ///
    /// # Errors
    /// When the engine says anything else than 200.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.ask("GET", path)?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// Whether it answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.get("/version").is_ok()
    }

    /// Whether it has a runtime of this name.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn has_runtime(&self, name: &str) -> Result<bool> {
        Ok(self.get("/info")?["Runtimes"].get(name).is_some())
    }

    /// The ids of Brig's containers, whatever their state.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn cells(&self) -> Result<Vec<String>> {
        Ok(self.containers()?.into_iter().map(|one| one.id).collect())
    }

    /// Brig's containers, whatever their state.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn containers(&self) -> Result<Vec<Container>> {
        // {"label":["dev.brig.instance"]}
        let listed =
            self.get("/containers/json?all=1&filters=%7B%22label%22%3A%5B%22dev.brig.instance%22%5D%7D")?;
        let all = listed.as_array().context("no list")?;
        Ok(all
            .iter()
            .filter_map(|one| {
                Some(Container {
                    id: one["Id"].as_str()?.to_owned(),
                    is_spare: one["Names"].to_string().contains("\"/brig-warm-"),
                })
            })
            .collect())
    }

    /// Where the root of a container is mounted on the host; nothing once it is gone.
    #[must_use]
    pub fn root_of(&self, id: &str) -> Option<String> {
        let found = self.inspect(id).ok()?;
        found["GraphDriver"]["Data"]["MergedDir"]
            .as_str()
            .map(str::to_owned)
    }

    /// What it knows of a container.
    ///
    /// # Errors
    /// When it knows none of this id.
    pub fn inspect(&self, id: &str) -> Result<Value> {
        self.get(&format!("/containers/{id}/json"))
    }

    /// Removes a container as somebody at the machine would, running or not.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn remove(&self, id: &str) -> Result<()> {
        let answer = self.ask("DELETE", &format!("/containers/{id}?force=1"))?;
        match answer.status {
            200 | 204 | 404 | 409 => Ok(()),
            status => bail!("the engine does not remove {id}: {status} {}", answer.body),
        }
    }

    /// The process of the engine itself, where `tests/engine` started it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<nix::unistd::Pid> {
        let file = self.socket.with_file_name("dockerd.pid");
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        Ok(nix::unistd::Pid::from_raw(text.trim().parse()?))
    }
}

/// An engine that a test may kill: started by `tests/engine` under a name of its own, stopped on drop.
#[derive(Debug)]
pub struct OwnEngine {
    name: &'static str,
    /// It.
    pub engine: Engine,
}

impl OwnEngine {
    /// Starts it. What an earlier one of this name has imported is still there.
    ///
    /// # Errors
    /// A skip where there is no engine to start.
    pub fn start(name: &'static str) -> Result<Self> {
        if !nix::unistd::Uid::effective().is_root() {
            return Err(Skip::because("only root can start an engine").into());
        }
        if !crate::modes::has_program("dockerd") {
            return Err(Skip::because("dockerd is not installed (package docker.io)").into());
        }
        let socket = script(&["start", name])?;
        Ok(Self {
            name,
            engine: Engine::at(Path::new(socket.trim())),
        })
    }

    /// Starts it again after it was killed.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&self) -> Result<()> {
        let done = run_script(&["start", self.name])?;
        ensure!(
            done.code() == 0,
            "the engine does not come back: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(())
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        script(&["stop", self.name]).ok();
    }
}

fn run_script(arguments: &[&str]) -> Result<process::Done> {
    let mut command = process::command(crate::stage::source("engine"));
    command.args(arguments);
    process::run(command, Vec::new(), Duration::from_secs(120))
}

fn script(arguments: &[&str]) -> Result<String> {
    let done = run_script(arguments)?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.code() == 0, "tests/engine {arguments:?}: {said}");
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
