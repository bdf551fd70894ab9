//! Putting a file into the workspace.

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat, write};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use super::stream::{Gone, Stream};
use super::tree::{Workspace, create_file};
use crate::files::{CellPath, FileMode, FileRequest};

/// The file that the daemon announced.
pub(super) struct Incoming {
    pub(super) path: CellPath,
    pub(super) size: u64,
    pub(super) mode: FileMode,
}

/// Makes or replaces a file. All its bytes are taken from the stream even when writing fails, so that the next
/// request is read where it starts.
pub(super) fn put(stream: &mut Stream, workspace: &Workspace, incoming: &Incoming) -> Result<(), Gone> {
    let mut target = Target::create(workspace, incoming);
    let mut left = incoming.size;
    while left > 0 {
        let Some(FileRequest::Data(part)) = stream.receive()? else {
            return Err(Gone);
        };
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        // More than announced, or nothing at all: the daemon is not ours.
        left = if length == 0 {
            None
        } else {
            left.checked_sub(length)
        }
        .ok_or(Gone)?;
        target = target.and_then(|target| target.append(&part));
    }
    stream.answer(target.map(drop))
}

/// A file that is being written.
struct Target {
    directory: OwnedFd,
    name: CString,
    file: OwnedFd,
}

impl Target {
    /// Whatever has the name is unlinked first and the file is made anew: a link, a pipe or a file with a second
    /// name that the program prepared is never written to.
    fn create(workspace: &Workspace, incoming: &Incoming) -> nix::Result<Target> {
        let (directory, name) = workspace.make_parent(&incoming.path)?;
        match unlinkat(&directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        let mode = match incoming.mode {
            FileMode::Plain => Mode::from_bits_truncate(0o644),
            FileMode::Executable => Mode::from_bits_truncate(0o755),
        };
        let file = create_file(directory.as_fd(), &name, mode)?;
        Ok(Target {
            directory,
            name,
            file,
        })
    }

    /// A file that cannot be written whole is removed.
    fn append(self, part: &[u8]) -> nix::Result<Target> {
        let mut rest = part;
        while !rest.is_empty() {
            match write(&self.file, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or(&[]),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    unlinkat(&self.directory, self.name.as_c_str(), UnlinkatFlags::NoRemoveDir).ok();
                    return Err(errno);
                }
            }
        }
        Ok(self)
    }
}
