//! The interpreter of an image.

use brig_core::backend::BackendError;
use brig_core::exit::{ExitFacts, MainExit};
use std::sync::Arc;

/// Numbers of errors that Linux has on every architecture.
const ENOENT: i32 = 2;
const EACCES: i32 = 13;

/// What a program of Python needs to know of its image.
#[derive(Debug, Clone)]
pub(crate) struct Interpreter {
    /// The image as the receipt names it.
    pub(crate) image: String,
    /// Its path inside the cell.
    pub(crate) python: String,
    /// Entries of the environment that the image adds to those that every program has.
    pub(crate) env: Vec<(String, String)>,
    /// The RUNNER frame for it.
    pub(crate) runner: Arc<[u8]>,
    /// What to do where the interpreter cannot be started.
    pub(crate) remedy: &'static str,
}

impl Interpreter {
    /// Nothing was heard of the runner. Where the stub could not execute the interpreter, as shells say it, the image
    /// is broken, and that is no fault of the program.
    pub(super) fn must_have_run(&self, facts: &ExitFacts) -> Result<(), BackendError> {
        let errno = match (facts.main, facts.killed) {
            (MainExit::Exited(126), None) => EACCES,
            (MainExit::Exited(127), None) => ENOENT,
            (_, _) => return Ok(()),
        };
        Err(BackendError::Setup {
            stage: "interpreter".to_owned(),
            item: format!("{}: {}", self.image, self.python),
            errno,
            remedy: self.remedy.to_owned(),
        })
    }
}
