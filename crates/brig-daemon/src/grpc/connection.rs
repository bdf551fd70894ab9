//! Listeners and connections: unix sockets, TCP on loopback, and memory for embedded runs.

use crate::ServeError;
use crate::config::{Config, ListenAddress};
use futures_util::stream::{self, BoxStream, StreamExt};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tonic::transport::server::Connected;
use tracing::warn;

/// How long to wait when no connection can be accepted (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes under way in each direction of a connection in memory.
const MEMORY_BUFFER: usize = 256 * 1024;

/// Open listeners, bound before the daemon gives up its rights.
#[derive(Debug, Default)]
pub struct Listeners {
    unix: Vec<(std::os::unix::net::UnixListener, SocketFile)>,
    tcp: Vec<std::net::TcpListener>,
    memory: Vec<DuplexStream>,
    pub(crate) metrics: Option<std::net::TcpListener>,
}

/// The name of a unix socket, removed with it. A confined daemon may not: whoever started it does it afterwards.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::PermissionDenied
        {
            warn!(path = %self.0.display(), %error, "the socket's name is still there");
        }
    }
}

impl Listeners {
    /// Binds everything that the configuration names. Needs no runtime.
    ///
    /// # Errors
    /// [`ServeError::Listen`] with the address that cannot be had.
    pub fn bind(config: &Config) -> Result<Self, ServeError> {
        let mut listeners = Self::default();
        for address in &config.listen {
            let failed = |source| ServeError::Listen {
                address: address.to_string(),
                source,
            };
            match address {
                ListenAddress::Unix(path) => {
                    let bound = bind_unix(path, config.socket_mode).map_err(failed)?;
                    listeners.unix.push(bound);
                }
                ListenAddress::Tcp(address) => listeners.tcp.push(bind_tcp(*address).map_err(failed)?),
            }
        }
        if let Some(address) = config.metrics {
            let failed = |source| ServeError::Listen {
                address: format!("metrics {address}"),
                source,
            };
            listeners.metrics = Some(bind_tcp(address).map_err(failed)?);
        }
        Ok(listeners)
    }

    /// One connection in memory, and the client's end of it.
    #[must_use]
    pub fn memory() -> (Self, DuplexStream) {
        let (server, client) = tokio::io::duplex(MEMORY_BUFFER);
        let listeners = Self {
            memory: vec![server],
            ..Self::default()
        };
        (listeners, client)
    }

    /// Addresses of the TCP listeners, for a port that the system chose.
    #[must_use]
    pub fn tcp_addresses(&self) -> Vec<std::net::SocketAddr> {
        self.tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Every connection of every listener. Never ends.
    pub(crate) fn incoming(self) -> io::Result<BoxStream<'static, io::Result<Connection>>> {
        let mut all: Vec<BoxStream<'static, io::Result<Connection>>> = vec![stream::pending().boxed()];
        for (listener, name) in self.unix {
            all.push(Acceptor::Unix(UnixListener::from_std(listener)?, name).connections());
        }
        for listener in self.tcp {
            all.push(Acceptor::Tcp(TcpListener::from_std(listener)?).connections());
        }
        let memory = self
            .memory
            .into_iter()
            .map(|stream| Ok(Connection::Memory(stream)));
        all.push(stream::iter(memory).boxed());
        Ok(stream::select_all(all).boxed())
    }
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Binds under another name first: the socket appears under its own name with its mode, or not at all.
fn bind_unix(path: &Path, mode: u32) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    refuse_if_served(path)?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let listener = std::os::unix::net::UnixListener::bind(&unfinished)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&unfinished, path)?;
    listener.set_nonblocking(true)?;
    Ok((listener, SocketFile(path.to_path_buf())))
}

/// A name left behind by a dead daemon may be taken over; a living one and any other file may not.
fn refuse_if_served(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let text = "there is already a file of this name that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_answered) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another daemon answers on this socket",
        )),
        Err(_dead) => Ok(()),
    }
}

/// An open listener.
enum Acceptor {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

impl Acceptor {
    fn connections(self) -> BoxStream<'static, io::Result<Connection>> {
        stream::unfold(self, |acceptor| async move {
            loop {
                match acceptor.accept().await {
                    Ok(connection) => return Some((Ok(connection), acceptor)),
                    Err(error) => {
                        // Out of descriptors, or a client that was gone at once: the next one may be served.
                        warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
        .boxed()
    }

    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Unix(listener, _name) => Ok(Connection::Unix(listener.accept().await?.0)),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
        }
    }
}

/// One connection, of any kind.
#[derive(Debug)]
pub(crate) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
    Memory(DuplexStream),
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// `uid:N` on a unix socket, else where it comes from.
    pub(crate) name: Arc<str>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        let name = match self {
            Self::Unix(stream) => match stream.peer_cred() {
                Ok(peer) => format!("uid:{}", peer.uid()),
                Err(_unknown) => "unix".to_owned(),
            },
            Self::Tcp(_) => "loopback".to_owned(),
            Self::Memory(_) => "embedded".to_owned(),
        };
        Peer { name: name.into() }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
