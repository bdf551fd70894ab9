//! Logs on stderr: for people, or one JSON object per line. Every line of a job carries its id.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Starts logging for this process. `BRIG_LOG` filters as usual (`debug`, `brig_daemon=trace`). Called twice, the
/// first call wins.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_env("BRIG_LOG").unwrap_or_else(|_unset| EnvFilter::new("info"));
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was started before");
    }
}
