//! The container's wire, relayed as bytes: the engine's attach stream on one side, a socket of the daemon's on the other.
//! The broker understands nothing of it, so nothing that a container writes can do anything to the broker.

use super::engine::{Cause, Engine, EngineError};
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::query_parameters::AttachContainerOptionsBuilder;
use futures_util::StreamExt;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span, warn};

/// Bytes that are taken from the daemon at once.
const PIECE: usize = 64 * 1_024;
/// Of what init says about its own trouble, so much is logged.
const TROUBLE_MOST: usize = 4 * 1_024;

/// A relay that runs.
#[derive(Debug)]
pub(super) struct Relay {
    /// The daemon's end, until it is given away.
    pub(super) wire: Option<OwnedFd>,
    /// The container's end of the stream was closed: it ended, or the engine lost it.
    pub(super) ended: CancellationToken,
}

/// Attaches to a container that is not started yet, so that nothing of what it writes is missed.
pub(super) async fn attach(engine: &Engine, tasks: &TaskTracker, id: &str) -> Result<Relay, EngineError> {
    let options = AttachContainerOptionsBuilder::default()
        .stream(true)
        .stdin(true)
        .stdout(true)
        .stderr(true)
        .build();
    let call = "attach";
    let attached = engine
        .call(call, engine.deadlines.quick, |docker| async move {
            docker.attach_container(id, Some(options)).await
        })
        .await?;
    let broken = |error: std::io::Error| EngineError {
        call,
        cause: Cause::Malformed(format!("no socket for the stream: {error}")),
    };
    let (mine, theirs) = UnixStream::pair().map_err(broken)?;
    let wire = OwnedFd::from(theirs.into_std().map_err(broken)?);
    let ended = CancellationToken::new();
    let AttachContainerResults { output, input } = attached;
    let (read, write) = mine.into_split();
    let (up, down) = (ended.clone(), ended.clone());
    let short_id: String = id.chars().take(12).collect();
    tasks.spawn(
        async move {
            upwards(output, write).await;
            up.cancel();
        }
        .instrument(info_span!("container", id = short_id)),
    );
    tasks.spawn(async move {
        tokio::select! {
            () = downwards(read, input) => {}
            () = down.cancelled() => {}
        }
    });
    Ok(Relay {
        wire: Some(wire),
        ended,
    })
}

type Output =
    std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
type Input = std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>;

/// From the container to the daemon. A daemon that reads no more does not hold the container's end back.
async fn upwards(mut output: Output, mut daemon: OwnedWriteHalf) {
    let mut listening = true;
    let mut logged = 0;
    while let Some(Ok(piece)) = output.next().await {
        match piece {
            LogOutput::StdOut { message } => {
                listening = listening && daemon.write_all(&message).await.is_ok();
            }
            LogOutput::StdErr { message } => log_trouble(&message, &mut logged),
            // Nothing else comes of a container without a terminal.
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => {}
        }
    }
    // The daemon hears the end of the stream; that it may be gone is no news.
    daemon.shutdown().await.ok();
}

fn log_trouble(message: &[u8], logged: &mut usize) {
    let left = TROUBLE_MOST.saturating_sub(*logged);
    let Some(piece) = message
        .get(..message.len().min(left))
        .filter(|piece| !piece.is_empty())
    else {
        return;
    };
    *logged += piece.len();
    warn!(text = %piece.escape_ascii(), "init in a container has trouble");
}

/// From the daemon to the container. The end of the daemon's stream is the end of init's input, which ends the container.
async fn downwards(mut daemon: OwnedReadHalf, mut input: Input) {
    let mut buffer = vec![0; PIECE];
    while let Ok(length) = daemon.read(&mut buffer).await {
        let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else {
            break;
        };
        if input.write_all(piece).await.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    input.shutdown().await.ok();
}
