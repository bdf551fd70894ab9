//! PID 1 of every jail cell, with `--enter` the program that handles files of a cell for the daemon, and with
//! `--container` PID 1 of a container.
//!
//! In the first two it is started by the keeper with a socket as descriptor 3, in the third by an engine with the streams
//! of the container as 0 to 2. It takes nothing else from outside: no environment, no file, no other argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mode = std::env::args_os().nth(1);
    let code = match mode.as_deref().and_then(|word| word.to_str()) {
        None => brig_jail::child::run(),
        Some("--enter") => brig_jail::enter::run(),
        Some("--container") => brig_jail::container::run(),
        Some(_) => 2,
    };
    ExitCode::from(code)
}
