//! How a build or an import goes on: a bar or a spinner on a terminal, plain lines otherwise.

use crate::quantity::human_duration;
use crate::terminal::{say, visible};
use brig_backend::images::build::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How much of a program's line fits beside the name of the step.
const LINE_WIDTH: usize = 60;

/// What one command shows.
#[derive(Debug)]
pub(crate) struct Shown {
    bar: Option<ProgressBar>,
    step: Mutex<Option<(String, Instant)>>,
}

impl Shown {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            bar,
            step: Mutex::new(None),
        }
    }

    /// The last step is done.
    pub(crate) fn finish(&self) {
        self.end_step();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn end_step(&self) {
        let ended = self.step.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((step, began)) = ended else { return };
        let line = format!("{step}: {}", human_duration(began.elapsed()));
        match &self.bar {
            Some(bar) => bar.suspend(|| say(&line)),
            None => say(&line),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // After an error: the terminal belongs to its message.
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Shown {
    fn step(&self, what: &str) {
        self.end_step();
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = Some((what.to_owned(), Instant::now()));
        if let Some(bar) = &self.bar {
            bar.set_style(ProgressStyle::default_spinner());
            bar.set_message(what.to_owned());
        }
    }

    fn line(&self, line: &str) {
        let Some(bar) = &self.bar else { return };
        let step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let step = step.as_ref().map_or("", |(step, _)| step.as_str());
        let line: String = visible(line).chars().take(LINE_WIDTH).collect();
        bar.set_message(format!("{step}: {line}"));
    }

    fn bytes(&self, done: u64, of: u64) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(of) {
            bar.set_length(of);
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}") {
                bar.set_style(style);
            }
        }
        bar.set_position(done);
    }
}
