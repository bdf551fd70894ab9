//! Where a daemon listens, and how to get there.

use super::{BrigClient, CALL_DEADLINE, RetryPolicy};
use crate::status::ApiError;
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// How long connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Room for output in flight: the default of 64 KiB makes a fast program wait for every round trip.
const WINDOW: u32 = 1024 * 1024;
/// A TCP peer that vanished is noticed after about this long.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Authority where there is no host: a path is not one, and servers refuse what is not one.
const NO_HOST: &str = "http://localhost";

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

impl FromStr for Address {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let wrong = || ApiError::Address(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` is how other gRPC clients write it.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(wrong())
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("tcp:"))
            .ok_or_else(wrong)?;
        let rest = rest.trim_start_matches("//").trim_end_matches('/');
        match rest.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(rest.to_owned()))
            }
            Some(_) | None => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host_port) => write!(f, "tcp:{host_port}"),
        }
    }
}

impl BrigClient {
    /// Connects to `unix:PATH`, `http://HOST:PORT` or `tcp:HOST:PORT`.
    ///
    /// # Errors
    /// [`ApiError::Address`] or [`ApiError::Connect`].
    pub async fn connect(address: &str) -> Result<Self, ApiError> {
        match address.parse()? {
            Address::Unix(path) => Self::connect_unix(&path).await,
            Address::Tcp(host_port) => Self::connect_tcp(&host_port).await,
        }
    }

    /// Connects to a unix socket. A daemon that was restarted is found again.
    ///
    /// # Errors
    /// [`ApiError::Connect`].
    pub async fn connect_unix(path: &Path) -> Result<Self, ApiError> {
        let shown = format!("unix:{}", path.display());
        let path = path.to_owned();
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = tuned(Endpoint::from_static(NO_HOST));
        endpoint
            .connect_with_connector(connector)
            .await
            .map(Self::over)
            .map_err(refused(shown))
    }

    /// Connects to `HOST:PORT`. A daemon that was restarted is found again.
    ///
    /// # Errors
    /// [`ApiError::Address`] or [`ApiError::Connect`].
    pub async fn connect_tcp(host_port: &str) -> Result<Self, ApiError> {
        let endpoint = Endpoint::from_shared(format!("http://{host_port}"))
            .map_err(|_not_a_uri| ApiError::Address(host_port.to_owned()))?;
        let endpoint = tuned(endpoint)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        endpoint
            .connect()
            .await
            .map(Self::over)
            .map_err(refused(format!("tcp:{host_port}")))
    }

    /// Talks to an engine in this process over `stream`. There is no second connection when it breaks.
    ///
    /// # Errors
    /// [`ApiError::Connect`].
    pub async fn embedded(stream: DuplexStream) -> Result<Self, ApiError> {
        let once = Arc::new(Mutex::new(Some(stream)));
        let connector = service_fn(move |_| {
            let taken = once.lock().unwrap_or_else(PoisonError::into_inner).take();
            let gone = || {
                io::Error::new(
                    io::ErrorKind::NotConnected,
                    "the engine in this process has ended",
                )
            };
            std::future::ready(taken.map(TokioIo::new).ok_or_else(gone))
        });
        let endpoint = tuned(Endpoint::from_static(NO_HOST));
        let shown = "in this process".to_owned();
        endpoint
            .connect_with_connector(connector)
            .await
            .map(Self::over)
            .map_err(refused(shown))
    }

    /// Uses a channel that was made elsewhere.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self {
            channel,
            retry: RetryPolicy::default(),
            deadline: CALL_DEADLINE,
        }
    }
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_DEADLINE)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
}

fn refused(address: String) -> impl FnOnce(tonic::transport::Error) -> ApiError {
    move |source| ApiError::Connect {
        address,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_usual_form() {
        for text in ["unix:/run/a", "unix:///run/a"] {
            assert_eq!(text.parse::<Address>().unwrap(), Address::Unix("/run/a".into()));
        }
        for text in ["http://localhost:1", "tcp:localhost:1", "tcp://localhost:1/"] {
            assert_eq!(
                text.parse::<Address>().unwrap(),
                Address::Tcp("localhost:1".into())
            );
        }
        for bad in [
            "",
            "unix:",
            "https://a:1",
            "tcp:a",
            "tcp:a:b",
            "tcp::1",
            "/run/a",
            "tcp:a:70000",
        ] {
            assert!(
                matches!(bad.parse::<Address>(), Err(ApiError::Address(_))),
                "{bad}"
            );
        }
        let shown = "tcp:[::1]:80";
        assert_eq!(shown.parse::<Address>().unwrap().to_string(), shown);
    }
}
