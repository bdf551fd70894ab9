//! The last step: the specification comes, and the stub becomes the program.

use nix::errno::Errno;
use std::ffi::CStr;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::channels::ProgramEnds;
use crate::control::STUB_GAVE_UP;
use crate::exec_spec::{EXEC_SPEC_MAX, ExecSpec, ExecStrings, RUNNER_ANSWER_FD, RUNNER_FD, RunnerChannel};
use crate::sys::child as sys;

/// What shells return for a program that is not there, and for one that cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Waits for the specification and executes it. Returns only when that does not work: with the exit code.
pub(crate) fn wait_and_execute(ends: ProgramEnds) -> u8 {
    let Some(json) = receive(&ends.job) else {
        return STUB_GAVE_UP;
    };
    let specification = ExecSpec::decode(&json).and_then(|spec| Ok((spec.strings()?, spec.runner_channel)));
    drop(json);
    match specification {
        Ok((strings, channel)) => become_program(ends, &strings, channel),
        Err(error) => {
            complain(ends.stderr.as_fd(), b"start", error.to_string().as_bytes());
            STUB_GAVE_UP
        }
    }
}

/// One message: length and JSON. `None`: the daemon is gone, or it sent nonsense.
fn receive(job: &OwnedFd) -> Option<Vec<u8>> {
    let mut stream = std::fs::File::from(job.try_clone().ok()?);
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    if length > EXEC_SPEC_MAX {
        return None;
    }
    let mut json = vec![0; length];
    stream.read_exact(&mut json).ok()?;
    Some(json)
}

fn become_program(ends: ProgramEnds, strings: &ExecStrings, channel: RunnerChannel) -> u8 {
    let stderr = ends.stderr.as_fd();
    if let Err(errno) = nix::unistd::chdir(strings.cwd.as_c_str()) {
        complain(stderr, strings.cwd.as_bytes(), errno.desc().as_bytes());
        return NOT_EXECUTABLE;
    }
    if let Err(errno) = arrange_descriptors(&ends, channel) {
        complain(stderr, b"descriptors", errno.desc().as_bytes());
        return STUB_GAVE_UP;
    }
    let (code, errno) = execute(strings);
    let program = strings
        .argv
        .first()
        .map_or(b"".as_slice(), |name| name.as_bytes());
    let searched = !program.contains(&b'/');
    let reason = match (code == NOT_FOUND, searched) {
        (true, true) => "command not found",
        // The path may well be there outside.
        (true, false) => "no such file in the cell",
        (false, _) => errno.desc(),
    };
    // Descriptor 2 is the program's stderr by now; everything else may be closed.
    complain(std::io::stderr().as_fd(), program, reason.as_bytes());
    // The originals are closed already, and whoever gets their numbers must not be closed by accident.
    std::mem::forget(ends);
    code
}

/// Stdio in 0 to 2, the runner's pipes in 3 and 4 if they are kept, nothing else.
fn arrange_descriptors(ends: &ProgramEnds, channel: RunnerChannel) -> nix::Result<()> {
    // `ends` live from 3 on: 0 to 2 are /dev/null. Whatever gets overwritten must have been copied before: stdio comes
    // first, then 3, then 4. The end for answers is not 3: it is the second descriptor of its pipe.
    sys::duplicate_onto(ends.stdin.as_fd(), 0)?;
    sys::duplicate_onto(ends.stdout.as_fd(), 1)?;
    sys::duplicate_onto(ends.stderr.as_fd(), 2)?;
    let first_closed = match channel {
        RunnerChannel::Keep => {
            sys::duplicate_onto(ends.job.as_fd(), RUNNER_FD)?;
            sys::duplicate_onto(ends.runner.as_fd(), RUNNER_ANSWER_FD)?;
            RUNNER_ANSWER_FD + 1
        }
        RunnerChannel::Close => RUNNER_FD,
    };
    sys::close_from(first_closed.cast_unsigned())
}

/// Tries every candidate as execvp does: a missing one is passed over, a forbidden one is remembered.
fn execute(strings: &ExecStrings) -> (u8, Errno) {
    let mut remembered = (NOT_FOUND, Errno::ENOENT);
    for file in &strings.candidates {
        let errno = try_one(file, strings);
        if errno == Errno::EACCES {
            remembered = (NOT_EXECUTABLE, errno);
        } else if errno != Errno::ENOENT && errno != Errno::ENOTDIR {
            return (NOT_EXECUTABLE, errno);
        }
    }
    remembered
}

fn try_one(file: &CStr, strings: &ExecStrings) -> Errno {
    match sys::execute(file, &strings.argv, &strings.env) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// One line on the program's stderr. The pipe is empty, so this cannot block; a daemon that is gone reads nothing.
fn complain(stderr: BorrowedFd<'_>, what: &[u8], why: &[u8]) {
    let line = [b"brig: ".as_slice(), what, b": ", why, b"\n"].concat();
    let shown = &line[..line.len().min(4096)];
    debug_assert!(stderr.as_raw_fd() > 0);
    nix::unistd::write(stderr, shown).ok();
}
