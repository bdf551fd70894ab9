//! What every kind of cell has in common, once it is open: a program is sent in, its output and what its runner tells
//! are taken out, files are moved, and facts become an [`Exit`](brig_core::backend::Exit).
//!
//! ```text
//!  open (jail/, docker/) ─▶ Ends + LiveCell ─▶ CellEnvironment: upload → exec → download → destroy
//!                                               │
//!                                               ├── opening.rs   ExecSpec, runner, program: one write
//!                                               ├── told.rs      what the runner says, bounded, first word counts
//!                                               └── ends.rs      job, stdin, stdout, stderr, runner
//! ```
//!
//! What differs is a [`LiveCell`]: how its clocks start, how it is killed, how its end is learned, how files are
//! reached, and how it goes away.

pub(crate) mod compile;
pub(crate) mod ends;
mod environment;
mod interpreter;
mod opening;
mod runners;
mod told;

pub(crate) use ends::{Ends, ReadEnd, WriteEnd};
pub(crate) use environment::CellEnvironment;
pub(crate) use interpreter::Interpreter;
pub use runners::Compile;
pub(crate) use runners::RunnerFrames;

use crate::files::FileStream;
use brig_core::backend::{BackendError, CellControl};
use brig_core::exit::ExitFacts;
use brig_core::limits::Limits;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the end of what holds the cells may be noticed after the end of something that depends on it.
const LOST_NOTICE: Duration = Duration::from_secs(1);

/// The times that run from the start of a program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    /// Wall-clock limit.
    pub(crate) wall: Duration,
    /// CPU-time limit of all processes.
    pub(crate) cpu: Duration,
    /// When the cell kills itself without a renewal.
    pub(crate) lease_until: Instant,
}

/// An open cell, as far as kinds of cells differ. Dropped without [`LiveCell::release`], it goes away all the same.
pub(crate) trait LiveCell: Send + Sync + 'static {
    /// Kill and renew from another task.
    fn control(&self) -> Arc<dyn CellControl>;
    /// The program starts now.
    fn start(&self, clocks: Clocks);
    /// Waits until no process of the cell is left. Called once.
    fn ended(&mut self, limits: &Limits) -> impl Future<Output = Result<ExitFacts, BackendError>> + Send;
    /// Nothing more is wanted of a cell that did not end as it should: its channels end now.
    fn hang_up(&self);
    /// A conversation with whoever reads and writes this cell's files.
    fn open_files(&mut self) -> impl Future<Output = Result<FileStream, BackendError>> + Send;
    /// Waits until what holds the cell is gone; tells what that was.
    fn lost(&self) -> impl Future<Output = BackendError> + Send;
    /// Kills what runs and waits until nothing is left.
    fn release(self) -> impl Future<Output = Result<(), BackendError>> + Send;
}
