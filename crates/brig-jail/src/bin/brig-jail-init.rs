//! PID 1 of every jail cell, and with `--enter` the program that handles files of a cell for the daemon.
//!
//! It is started by the keeper with a socket as descriptor 3 and takes nothing else from outside: no environment,
//! no file, no other argument.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mode = std::env::args_os().nth(1);
    let code = match mode.as_deref().and_then(|word| word.to_str()) {
        None => brig_jail::child::run(),
        Some("--enter") => brig_jail::enter::run(),
        Some(_) => 2,
    };
    ExitCode::from(code)
}
