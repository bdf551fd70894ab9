//! Giving files out: one, all that patterns match, or only their names.

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::read;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use super::stream::{Gone, Stream};
use super::tree::{Workspace, describe, is_plain_file, kind, look_at, names, open_directory, open_file};
use crate::files::{
    CellPath, CollectLimits, DATA_MAX, EntryKind, FileMode, FileReply, GlobSet, GlobState, PATH_MAX,
    SKIPPED_MAX, SkipReason,
};

/// One file, at most so many bytes of it.
pub(super) fn get(
    stream: &mut Stream,
    workspace: &Workspace,
    path: &CellPath,
    max_bytes: u64,
) -> Result<(), Gone> {
    let opened = workspace.parent(path).and_then(|(parent, name)| {
        let status = look_at(parent.as_fd(), &name)?;
        Ok(open_plain(&parent, &name, &status).map(|file| (file, status)))
    });
    match opened {
        Ok(Ok((file, status))) => {
            send_file(stream, path.as_bytes(), (&file, &status), max_bytes)?;
            stream.send(&FileReply::Done)
        }
        Ok(Err(reason)) => stream.send(&FileReply::Refused { reason }),
        Err(errno) => stream.answer(Err(errno)),
    }
}

/// One entry, described.
pub(super) fn stat(stream: &mut Stream, workspace: &Workspace, path: &CellPath) -> Result<(), Gone> {
    let status = workspace
        .parent(path)
        .and_then(|(parent, name)| look_at(parent.as_fd(), &name));
    match status {
        Ok(status) => {
            stream.send(&FileReply::Entry(describe(path.as_bytes(), &status)))?;
            stream.send(&FileReply::Done)
        }
        Err(errno) => stream.answer(Err(errno)),
    }
}

/// The names in one directory.
pub(super) fn list(
    stream: &mut Stream,
    workspace: &Workspace,
    path: Option<&CellPath>,
    max_entries: u32,
) -> Result<(), Gone> {
    let opened = workspace.open_directory(path.map(CellPath::as_bytes));
    let listed = opened.and_then(|directory| names(&directory, max_entries).map(|names| (directory, names)));
    let (directory, listing) = match listed {
        Ok(listed) => listed,
        Err(errno) => return stream.answer(Err(errno)),
    };
    let mut files = 0;
    for name in &listing.names {
        // An entry that went away meanwhile is no entry.
        if let Ok(status) = look_at(directory.as_fd(), name) {
            let full = join(path.map_or(b"", CellPath::as_bytes), name.to_bytes());
            stream.send(&FileReply::Entry(describe(&full, &status)))?;
            files += 1;
        }
    }
    stream.send(&FileReply::Finished {
        files,
        skipped: 0,
        truncated: listing.more,
    })
}

/// Every regular file that a pattern matches.
pub(super) fn collect(
    stream: &mut Stream,
    workspace: &Workspace,
    patterns: &[Vec<u8>],
    limits: CollectLimits,
) -> Result<(), Gone> {
    let Ok(globs) = GlobSet::new(patterns) else {
        return stream.answer(Err(Errno::EINVAL));
    };
    let root = match workspace.open_root() {
        Ok(root) => root,
        Err(errno) => return stream.answer(Err(errno)),
    };
    let mut walk = Walk {
        stream,
        limits,
        started: now_millis(),
        files: 0,
        skipped: 0,
        entries: 0,
        total_bytes: 0,
        truncated: false,
        globs: &globs,
    };
    walk.directory(
        &root,
        &Place {
            path: Vec::new(),
            state: globs.start(),
            depth: 0,
        },
    )?;
    let Walk {
        files,
        skipped,
        truncated,
        ..
    } = walk;
    stream.send(&FileReply::Finished {
        files,
        skipped,
        truncated,
    })
}

/// A directory on the way.
struct Place {
    path: Vec<u8>,
    state: GlobState,
    depth: u16,
}

struct Walk<'a> {
    stream: &'a mut Stream,
    globs: &'a GlobSet,
    limits: CollectLimits,
    started: u64,
    files: u32,
    skipped: u32,
    entries: u32,
    total_bytes: u64,
    truncated: bool,
}

impl Walk<'_> {
    /// One directory, its files before what is below. The depth is bounded by the limit, so recursion is too.
    fn directory(&mut self, directory: &OwnedFd, place: &Place) -> Result<(), Gone> {
        let budget = self.limits.entries.saturating_sub(self.entries);
        let Ok(listing) = names(directory, budget) else {
            return self.skip(place.path.clone(), SkipReason::Unreadable);
        };
        self.truncated |= listing.more;
        let mut below = Vec::new();
        for name in listing.names {
            self.entries = self.entries.saturating_add(1);
            if self.is_over_time() {
                self.truncated = true;
                return Ok(());
            }
            if let Some(next) = self.entry(directory, place, &name)? {
                below.push((name, next));
            }
        }
        for (name, next) in below {
            match open_directory(directory.as_fd(), &name) {
                Ok(child) => self.directory(&child, &next)?,
                Err(_unreadable) => self.skip(next.path, SkipReason::Unreadable)?,
            }
        }
        Ok(())
    }

    /// One entry: a file is sent or skipped, a directory that may hold matches is returned.
    fn entry(&mut self, directory: &OwnedFd, place: &Place, name: &CString) -> Result<Option<Place>, Gone> {
        let state = self.globs.step(&place.state, name.to_bytes());
        let matched = self.globs.matches(&state);
        let below = self.globs.may_match_below(&state);
        if !matched && !below {
            return Ok(None);
        }
        let path = join(&place.path, name.to_bytes());
        let Ok(status) = look_at(directory.as_fd(), name) else {
            return self.skip(path, SkipReason::Unreadable).map(|()| None);
        };
        let is_directory = kind(&status) == EntryKind::Directory;
        let reason = match (is_directory, below, matched) {
            (_, _, _) if path.len() > PATH_MAX => SkipReason::PathTooLong,
            (true, true, _) if place.depth < self.limits.depth => {
                return Ok(Some(Place {
                    path,
                    state,
                    depth: place.depth + 1,
                }));
            }
            (true, true, _) => SkipReason::TooDeep,
            // A pattern for files that happens to match a directory asks for nothing.
            (true, false, _) | (false, _, false) => return Ok(None),
            (false, _, true) => return self.file(directory, (path, name), &status).map(|()| None),
        };
        self.skip(path, reason).map(|()| None)
    }

    fn file(
        &mut self,
        directory: &OwnedFd,
        (path, name): (Vec<u8>, &CStr),
        status: &FileStat,
    ) -> Result<(), Gone> {
        let size = u64::try_from(status.st_size).unwrap_or(u64::MAX);
        let room = self.limits.total_bytes.saturating_sub(self.total_bytes);
        let reason = match open_plain_checked(directory, name, status) {
            Err(reason) => reason,
            Ok(_) if size > self.limits.file_bytes => SkipReason::TooLarge,
            Ok(_) if self.files >= self.limits.files => SkipReason::TooMany,
            Ok(_) if size > room => SkipReason::TotalTooLarge,
            Ok(open) => {
                let Ok(file) = open() else {
                    return self.skip(path, SkipReason::Unreadable);
                };
                let most = self.limits.file_bytes.min(room);
                self.files += 1;
                self.total_bytes += send_file(self.stream, &path, (&file, status), most)?;
                return Ok(());
            }
        };
        self.skip(path, reason)
    }

    fn skip(&mut self, path: Vec<u8>, reason: SkipReason) -> Result<(), Gone> {
        self.skipped = self.skipped.saturating_add(1);
        if self.skipped > SKIPPED_MAX {
            return Ok(());
        }
        let path = path.get(..PATH_MAX).map_or(path.clone(), <[u8]>::to_vec);
        self.stream.send(&FileReply::Skipped { path, reason })
    }

    fn is_over_time(&self) -> bool {
        now_millis().saturating_sub(self.started) > u64::from(self.limits.millis)
    }
}

/// Checks an entry by its description alone; opening is what remains to be done.
fn open_plain_checked<'a>(
    directory: &'a OwnedFd,
    name: &'a CStr,
    status: &FileStat,
) -> Result<impl FnOnce() -> Result<OwnedFd, SkipReason> + 'a, SkipReason> {
    if kind(status) != EntryKind::File {
        return Err(SkipReason::NotARegularFile);
    }
    if status.st_nlink != 1 {
        return Err(SkipReason::SeveralLinks);
    }
    Ok(move || {
        let file = open_file(directory.as_fd(), name).map_err(|_errno| SkipReason::Unreadable)?;
        // It may have been exchanged since it was looked at.
        match is_plain_file(&file) {
            Ok(true) => Ok(file),
            Ok(false) => Err(SkipReason::NotARegularFile),
            Err(_errno) => Err(SkipReason::Unreadable),
        }
    })
}

fn open_plain(directory: &OwnedFd, name: &CStr, status: &FileStat) -> Result<OwnedFd, SkipReason> {
    open_plain_checked(directory, name, status).and_then(|open| open())
}

/// Sends a file, at most so many bytes, counted as they are read: what the file system said about the size was true
/// then, if ever.
fn send_file(
    stream: &mut Stream,
    path: &[u8],
    (file, status): (&OwnedFd, &FileStat),
    most: u64,
) -> Result<u64, Gone> {
    let mode = if status.st_mode & 0o100 == 0 {
        FileMode::Plain
    } else {
        FileMode::Executable
    };
    stream.send(&FileReply::FileStart {
        path: path.to_vec(),
        mode,
    })?;
    let mut buffer = vec![0; DATA_MAX];
    let mut sent = 0u64;
    let truncated = loop {
        let left = most - sent;
        // One byte more than may be sent tells whether there is more.
        let wanted = usize::try_from(left.saturating_add(1))
            .unwrap_or(DATA_MAX)
            .min(DATA_MAX);
        let length = match read(file, buffer.get_mut(..wanted).unwrap_or(&mut [])) {
            Ok(0) => break false,
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(_unreadable) => break true,
        };
        let allowed = length.min(usize::try_from(left).unwrap_or(usize::MAX));
        if allowed > 0 {
            stream.send(&FileReply::Data(buffer.get(..allowed).unwrap_or(&[]).to_vec()))?;
        }
        sent += u64::try_from(allowed).unwrap_or(0);
        if allowed < length {
            break true;
        }
    };
    stream.send(&FileReply::FileEnd {
        bytes: sent,
        truncated,
    })?;
    Ok(sent)
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        name.to_vec()
    } else {
        [directory, b"/", name].concat()
    }
}

fn now_millis() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(u64::try_from(now.tv_nsec()).unwrap_or(0) / 1_000_000)
}
