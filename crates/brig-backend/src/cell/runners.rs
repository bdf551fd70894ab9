//! The runner for each image: source at first; for a service, compiled by an interpreter of the image from the second job
//! on, which starts 1 to 2 ms earlier.

use crate::runner::{self, Compiled};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Roots come and go while a service runs; more than this are not remembered.
const IMAGES_MAX: usize = 64;

/// Whether the runner is compiled ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compile {
    /// Once for each image, by a cell that is given nothing of any user: worth it for a service.
    Ahead,
    /// Never: not worth it for a single run.
    Never,
}

/// Content of an image; the host's is all zeros.
type Root = [u8; 32];

/// RUNNER frames by image.
#[derive(Debug)]
pub(crate) struct RunnerFrames {
    compile: Compile,
    source: Arc<[u8]>,
    /// `None`: source, while a cell compiles it, or because none could.
    frames: Mutex<HashMap<Root, Option<Arc<[u8]>>>>,
}

impl RunnerFrames {
    pub(crate) fn new(compile: Compile) -> RunnerFrames {
        RunnerFrames {
            compile,
            source: runner::runner_frame(None).into(),
            frames: Mutex::default(),
        }
    }

    fn frames(&self) -> MutexGuard<'_, HashMap<Root, Option<Arc<[u8]>>>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frame for a job.
    pub(crate) fn frame(&self, root: &Root) -> Arc<[u8]> {
        let frames = self.frames();
        let compiled = frames.get(root).and_then(Option::as_ref);
        Arc::clone(compiled.unwrap_or(&self.source))
    }

    /// Whether the caller shall have it compiled: once for each image, whatever comes of it.
    pub(crate) fn try_claim(&self, root: &Root) -> bool {
        let mut frames = self.frames();
        if self.compile == Compile::Never || frames.contains_key(root) {
            return false;
        }
        if frames.len() >= IMAGES_MAX {
            frames.clear();
        }
        frames.insert(*root, None);
        true
    }

    /// Keeps what an interpreter of the image made.
    pub(crate) fn keep(&self, root: &Root, compiled: &Compiled) {
        let frame = runner::runner_frame(Some(compiled)).into();
        self.frames().insert(*root, Some(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_is_compiled_once_and_a_single_run_compiles_none() {
        let frames = RunnerFrames::new(Compile::Ahead);
        assert!(frames.try_claim(&[1; 32]));
        assert!(!frames.try_claim(&[1; 32]));
        assert!(frames.try_claim(&[2; 32]));
        assert!(!RunnerFrames::new(Compile::Never).try_claim(&[1; 32]));
    }

    #[test]
    fn an_image_gets_its_own_compiled_form_and_no_other() {
        let frames = RunnerFrames::new(Compile::Ahead);
        let compiled = Compiled {
            magic: [1; 4],
            runner: vec![1, 2, 3],
            report: vec![4],
        };
        frames.keep(&[1; 32], &compiled);
        assert_ne!(frames.frame(&[1; 32]), frames.frame(&[2; 32]));
        assert_eq!(frames.frame(&[2; 32]), Arc::from(runner::runner_frame(None)));
    }

    #[test]
    fn images_that_came_and_went_are_forgotten() {
        let frames = RunnerFrames::new(Compile::Ahead);
        for number in 0..=u8::try_from(IMAGES_MAX).unwrap() {
            assert!(frames.try_claim(&[number; 32]));
        }
        assert!(frames.frames().len() <= IMAGES_MAX);
    }
}
