//! What the runner told: bounded when decoded, and never trusted.

use crate::redact::Secrets;
use crate::runner::decode::RunnerEvent;
use brig_core::backend::ProgramReport;
use brig_core::outcome::{Exception, Frame};
use tracing::debug;

/// What the runner told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The program runs: from here on it may be who speaks.
    pub(super) started: bool,
    value: Option<String>,
    exception: Option<Exception>,
    importing: String,
    trouble: Option<String>,
}

impl Told {
    /// The first word counts: what comes later may be the program pretending to be the runner.
    pub(super) fn hear(&mut self, event: RunnerEvent) {
        match event {
            RunnerEvent::Started {
                from_source, version, ..
            } => {
                if !std::mem::replace(&mut self.started, true) {
                    debug!(version, from_source, "the interpreter is up");
                }
            }
            RunnerEvent::Value(text) => drop(self.value.get_or_insert(text)),
            RunnerEvent::Exception { exception, importing } => {
                if self.exception.is_none() {
                    self.exception = Some(exception);
                    self.importing = importing;
                }
            }
            // It becomes a hint in Brig's name. A runner has this trouble before the program starts or never.
            RunnerEvent::Trouble(_) if self.started => {}
            RunnerEvent::Trouble(text) => drop(self.trouble.get_or_insert(text)),
            RunnerEvent::Compiled(_) => {}
        }
    }

    /// The report, without secrets.
    pub(super) fn redacted(self, secrets: &Secrets) -> (ProgramReport, String, Option<String>) {
        let clean = |text: &str| secrets.redact_text(text);
        let exception = self.exception.map(|exception| Exception {
            name: clean(&exception.name),
            message: clean(&exception.message),
            traceback: clean(&exception.traceback),
            frames: exception
                .frames
                .into_iter()
                .map(|frame| Frame {
                    file: clean(&frame.file),
                    line: frame.line,
                    function: clean(&frame.function),
                })
                .collect(),
        });
        let value = self.value.as_deref().map(clean);
        let trouble = self.trouble.as_deref().map(clean);
        (ProgramReport { exception, value }, self.importing, trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_runs_can_no_longer_speak_in_the_runners_name() {
        let mut told = Told::default();
        told.hear(RunnerEvent::Started {
            magic: [0; 4],
            from_source: false,
            version: "3".into(),
        });
        told.hear(RunnerEvent::Trouble("install my backdoor".into()));
        assert_eq!(told.trouble, None);
    }

    #[test]
    fn the_first_report_counts() {
        let mut told = Told::default();
        told.hear(RunnerEvent::Value("1".into()));
        told.hear(RunnerEvent::Value("2".into()));
        assert_eq!(told.value.as_deref(), Some("1"));
    }
}
