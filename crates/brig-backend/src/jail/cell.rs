//! An open cell of the jail, and its guarantee to be released.

use super::{OPEN_TIME, Shared, facts, nanos};
use crate::cell::{Clocks, Ends, LiveCell, ReadEnd, WriteEnd};
use crate::files::FileStream;
use crate::keeper_link::{Keeper, LOST, OpenedCell};
use crate::receipt;
use brig_core::backend::{BackendError, CellControl};
use brig_core::exit::{ExitFacts, KillCause};
use brig_core::limits::Limits;
use brig_jail::boot_time::nanos_after;
use brig_jail::protocol::{CellFacts, CellNumber, CellReceipt, Request};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Longer than any cell takes to go away; only a keeper that is stuck needs it.
const RELEASE_TIME: Duration = Duration::from_secs(30);

/// A cell that the keeper opened.
#[derive(Debug)]
pub(super) struct JailCell {
    shared: Arc<Shared>,
    lifetime: Lifetime,
    control: Arc<Control>,
    ended: Option<oneshot::Receiver<CellFacts>>,
}

impl JailCell {
    /// Takes the cell apart: what lives, its ends, and what the keeper says of its layers.
    pub(super) fn new(
        shared: Arc<Shared>,
        opened: OpenedCell,
    ) -> Result<(JailCell, Ends, CellReceipt), BackendError> {
        let OpenedCell {
            number,
            receipt,
            job,
            stdin,
            stdout,
            stderr,
            runner,
            ended,
            released,
        } = opened;
        // First of all, so that the cell is released whatever fails below.
        let cell = JailCell {
            lifetime: Lifetime::new(shared.keeper.clone(), number, released),
            control: Control::new(shared.keeper.clone(), number),
            ended: Some(ended),
            shared,
        };
        let ends = || {
            Ok(Ends {
                job: WriteEnd::pipe(job)?,
                stdin: WriteEnd::pipe(stdin)?,
                stdout: ReadEnd::pipe(stdout)?,
                stderr: ReadEnd::pipe(stderr)?,
                runner: ReadEnd::pipe(runner)?,
            })
        };
        let ends = ends().map_err(|source| BackendError::Io {
            act: "open the channels to a cell",
            source,
        })?;
        Ok((cell, ends, receipt))
    }
}

impl LiveCell for JailCell {
    fn control(&self) -> Arc<dyn CellControl> {
        Arc::clone(&self.control) as Arc<dyn CellControl>
    }

    fn start(&self, clocks: Clocks) {
        self.control.start(clocks);
    }

    async fn ended(&mut self, _limits: &Limits) -> Result<ExitFacts, BackendError> {
        let ended = self
            .ended
            .take()
            .ok_or(BackendError::Protocol("a cell ends once"))?;
        let facts = ended.await.map_err(|_sender_is_gone| BackendError::Lost(LOST))?;
        facts::exit_facts(&facts).map_err(|failure| receipt::setup_error(&failure, &self.shared.config.signs))
    }

    fn hang_up(&self) {
        // What is left in a pipe is read without waiting for its end.
    }

    async fn open_files(&mut self) -> Result<FileStream, BackendError> {
        let opening = self.shared.keeper.open_files(self.lifetime.number);
        let socket = match timeout(OPEN_TIME, opening).await {
            Ok(opened) => opened.map_err(|refusal| self.shared.error(refusal))?,
            Err(_late) => {
                return Err(BackendError::Protocol(
                    "the keeper started no enter-helper in time",
                ));
            }
        };
        let stream = stream(socket).map_err(|source| BackendError::Io {
            act: "speak to the enter-helper",
            source,
        })?;
        Ok(Box::new(stream))
    }

    async fn lost(&self) -> BackendError {
        self.shared.keeper.lost().await;
        BackendError::Lost(LOST)
    }

    async fn release(self) -> Result<(), BackendError> {
        self.lifetime.release().await
    }
}

fn stream(socket: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Kill and renew, from any task.
#[derive(Debug)]
struct Control {
    keeper: Keeper,
    number: CellNumber,
}

impl Control {
    fn new(keeper: Keeper, number: CellNumber) -> Arc<Control> {
        Arc::new(Control { keeper, number })
    }

    /// The program starts.
    fn start(&self, clocks: Clocks) {
        self.keeper.post(Request::Start {
            cell: self.number,
            wall_nanos: nanos(clocks.wall),
            cpu_nanos: nanos(clocks.cpu),
            lease_until_nanos: boot_nanos(clocks.lease_until),
        });
    }
}

/// The same moment on the clock that the keeper and PID 1 look at.
fn boot_nanos(moment: Instant) -> u64 {
    nanos_after(moment.saturating_duration_since(Instant::now()))
}

impl CellControl for Control {
    fn kill(&self, cause: KillCause) {
        self.keeper.kill(self.number, facts::reason(cause));
    }

    fn renew(&self, lease_until: Instant) {
        self.keeper.post(Request::Renew {
            cell: self.number,
            lease_until_nanos: boot_nanos(lease_until),
        });
    }
}

/// The cell's life. Dropped without [`Lifetime::release`], it is released all the same.
#[derive(Debug)]
struct Lifetime {
    keeper: Keeper,
    number: CellNumber,
    released: Option<oneshot::Receiver<()>>,
}

impl Lifetime {
    fn new(keeper: Keeper, number: CellNumber, released: oneshot::Receiver<()>) -> Lifetime {
        Lifetime {
            keeper,
            number,
            released: Some(released),
        }
    }

    /// Kills what runs and waits until nothing is left.
    async fn release(mut self) -> Result<(), BackendError> {
        let Some(released) = self.released.take() else {
            return Ok(());
        };
        self.keeper.post(Request::Release { cell: self.number });
        match timeout(RELEASE_TIME, released).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_sender_is_gone)) => Err(BackendError::Lost(LOST)),
            Err(_late) => Err(BackendError::Protocol(
                "the keeper did not release a cell in time",
            )),
        }
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        if self.released.is_some() {
            self.keeper.post(Request::Release { cell: self.number });
        }
    }
}
