//! Processes: the only place in which this program starts others, which are the baselines and the private daemon of
//! `bench`.

use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Runs a command to its end, with no input.
pub(crate) fn output(argv: &[String]) -> io::Result<Output> {
    let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    command(program.as_ref()).args(args).stdin(Stdio::null()).output()
}

/// Starts this very program again, with its stderr to be read.
pub(crate) fn spawn_self(args: &[&str], directory: &Path) -> io::Result<Child> {
    let mut command = command(Path::new("/proc/self/exe"));
    command.args(args).current_dir(directory);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

/// The name of this process in `ps` and `top`.
pub(crate) fn name_process(name: &CStr) {
    // Only for people who look: it works just as well without.
    nix::sys::prctl::set_name(name).ok();
}

fn command(program: &Path) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place in this crate where processes start"
    )]
    Command::new(program)
}
