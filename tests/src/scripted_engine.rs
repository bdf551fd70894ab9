//! An engine that says what a test wants and remembers who came: only what Brig asks for before it makes a container.

use anyhow::Result;
use nix::sys::socket::{getsockopt, sockopt};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What it answers about itself.
#[derive(Debug, Clone)]
pub struct Script {
    /// The version of its API.
    pub api: String,
    /// Its runtimes.
    pub runtimes: Vec<String>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            api: "1.45".to_owned(),
            runtimes: ["runc", "runsc"].map(str::to_owned).to_vec(),
        }
    }
}

/// It listens until the test ends: its thread has nothing to lose.
#[derive(Debug)]
pub struct ScriptedEngine {
    socket: PathBuf,
    visitors: Arc<Mutex<BTreeSet<i32>>>,
}

impl ScriptedEngine {
    /// Listens in `directory`.
    ///
    /// # Errors
    /// When it cannot.
    pub fn start(directory: &Path, script: Script) -> Result<Self> {
        let socket = directory.join("engine.sock");
        let listener = UnixListener::bind(&socket)?;
        let visitors = Arc::<Mutex<BTreeSet<i32>>>::default();
        let seen = Arc::clone(&visitors);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) {
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(peer.pid());
                }
                let script = script.clone();
                std::thread::spawn(move || serve(stream, &script).ok());
            }
        });
        Ok(Self { socket, visitors })
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The processes that connected.
    #[must_use]
    pub fn visitors(&self) -> BTreeSet<i32> {
        self.visitors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Answers request after request, until the other side has enough.
fn serve(mut stream: UnixStream, script: &Script) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut buffered = Vec::new();
    loop {
        let Some(end) = head_end(&buffered) else {
            let mut piece = [0; 4096];
            match stream.read(&mut piece)? {
                0 => return Ok(()),
                length => buffered.extend_from_slice(piece.get(..length).unwrap_or_default()),
            }
            continue;
        };
        let head = String::from_utf8_lossy(buffered.get(..end).unwrap_or_default()).into_owned();
        // Bodies are not looked at: nothing that is answered with more than a refusal has one.
        buffered.clear();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if path.contains("/events") {
            // Nothing ever happens here. The stream stays open as long as the connection.
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            )?;
            stream.set_read_timeout(None)?;
            stream.read_to_end(&mut buffered)?;
            return Ok(());
        }
        let (status, body) = answer(&path, script);
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nApi-Version: {}\r\nContent-Length: {}\r\n\r\n{body}",
            script.api,
            body.len()
        )?;
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn answer(path: &str, script: &Script) -> (&'static str, String) {
    let api = &script.api;
    if path.ends_with("/_ping") {
        return ("200 OK", "OK".to_owned());
    }
    if path.ends_with("/version") {
        let body = format!(
            r#"{{"Version":"25.0.0","ApiVersion":"{api}","MinAPIVersion":"1.24","Components":[{{"Name":"runc","Version":"1.3.3"}}]}}"#
        );
        return ("200 OK", body);
    }
    if path.ends_with("/info") {
        let runtimes: Vec<String> = script
            .runtimes
            .iter()
            .map(|name| format!(r#""{name}":{{"path":"{name}"}}"#))
            .collect();
        let body = format!(
            r#"{{"ServerVersion":"25.0.0","Driver":"overlay2","CgroupDriver":"cgroupfs","CgroupVersion":"2","Runtimes":{{{}}},"SecurityOptions":["name=seccomp,profile=builtin"],"MemoryLimit":true,"SwapLimit":true,"PidsLimit":true,"CpuCfsQuota":true}}"#,
            runtimes.join(",")
        );
        return ("200 OK", body);
    }
    if path.contains("/containers/json") || path.contains("/images/json") {
        return ("200 OK", "[]".to_owned());
    }
    (
        "404 Not Found",
        r#"{"message":"the test's engine has no such thing"}"#.to_owned(),
    )
}
