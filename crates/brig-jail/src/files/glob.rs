//! Patterns for the files that a job gives back: `*` and `?` inside a name, `**` for any number of directories.
//!
//! As in shells, a leading dot is matched only by a pattern with a leading dot, so that `**` does not collect
//! caches. A pattern that ends with a slash means everything below that directory.
//!
//! A pattern is followed name by name as a set of positions, so that the time is bounded by
//! (names in the pattern) × (names in the path), and one name by (bytes) × (bytes): nothing explodes.

use super::path::{COMPONENT_MAX, DEPTH_MAX, PATH_MAX};
use thiserror::Error;

/// Why a pattern is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GlobError {
    /// Nothing.
    #[error("the pattern is empty")]
    Empty,
    /// It starts with a slash.
    #[error("the pattern is absolute; patterns are relative to /workspace")]
    Absolute,
    /// It has `.` or `..` or an empty name in it.
    #[error("the pattern has `.`, `..` or an empty name in it")]
    Dots,
    /// A NUL byte.
    #[error("the pattern contains a NUL byte")]
    NulByte,
    /// Longer than a path can be.
    #[error("the pattern is longer than a path can be")]
    TooLong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    /// `**`
    AnyDirectories,
    /// Anything else.
    Name(Vec<u8>),
}

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    segments: Vec<Segment>,
}

impl Glob {
    /// Checks and cuts a pattern.
    pub fn new(pattern: &[u8]) -> Result<Glob, GlobError> {
        if pattern.is_empty() {
            return Err(GlobError::Empty);
        }
        if pattern.len() > PATH_MAX {
            return Err(GlobError::TooLong);
        }
        if pattern.contains(&0) {
            return Err(GlobError::NulByte);
        }
        if pattern.starts_with(b"/") {
            return Err(GlobError::Absolute);
        }
        let whole_directory = pattern.ends_with(b"/");
        let pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
        let mut segments = Vec::new();
        for name in pattern.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." | b".." => return Err(GlobError::Dots),
                b"**" if segments.last() == Some(&Segment::AnyDirectories) => {}
                b"**" => segments.push(Segment::AnyDirectories),
                name if name.len() > COMPONENT_MAX => return Err(GlobError::TooLong),
                name => segments.push(Segment::Name(name.to_vec())),
            }
        }
        if whole_directory || segments.last() == Some(&Segment::AnyDirectories) {
            // `a/**` and `a/` mean every file below.
            if segments.last() != Some(&Segment::AnyDirectories) {
                segments.push(Segment::AnyDirectories);
            }
            segments.push(Segment::Name(b"*".to_vec()));
        }
        if segments.len() > DEPTH_MAX {
            Err(GlobError::TooLong)
        } else {
            Ok(Glob { segments })
        }
    }

    /// Positions that can be reached without a further name: `**` may stand for no directory.
    fn close(&self, positions: &mut Vec<usize>) {
        let mut index = 0;
        while let Some(position) = positions.get(index).copied() {
            if self.segments.get(position) == Some(&Segment::AnyDirectories) {
                insert(positions, position + 1);
            }
            index += 1;
        }
    }

    fn start(&self) -> Vec<usize> {
        let mut positions = vec![0];
        self.close(&mut positions);
        positions
    }

    fn step(&self, positions: &[usize], name: &[u8]) -> Vec<usize> {
        let mut next = Vec::new();
        for position in positions {
            match self.segments.get(*position) {
                Some(Segment::AnyDirectories) if !name.starts_with(b".") => insert(&mut next, *position),
                Some(Segment::Name(pattern)) if name_matches(pattern, name) => {
                    insert(&mut next, position + 1);
                }
                Some(Segment::AnyDirectories | Segment::Name(_)) | None => {}
            }
        }
        self.close(&mut next);
        next
    }
}

fn insert(positions: &mut Vec<usize>, position: usize) {
    if !positions.contains(&position) {
        positions.push(position);
    }
}

/// Several patterns, followed together down a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobSet {
    globs: Vec<Glob>,
}

/// How far the patterns of a set have come at one directory or file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobState {
    positions: Vec<Vec<usize>>,
}

impl GlobSet {
    /// Checks all patterns; the index of a bad one comes with its error.
    pub fn new(patterns: &[Vec<u8>]) -> Result<GlobSet, (usize, GlobError)> {
        let globs = patterns
            .iter()
            .enumerate()
            .map(|(index, pattern)| Glob::new(pattern).map_err(|error| (index, error)))
            .collect::<Result<_, _>>()?;
        Ok(GlobSet { globs })
    }

    /// At the workspace itself.
    pub fn start(&self) -> GlobState {
        GlobState {
            positions: self.globs.iter().map(Glob::start).collect(),
        }
    }

    /// One name further down.
    pub fn step(&self, state: &GlobState, name: &[u8]) -> GlobState {
        let stepped = self.globs.iter().zip(&state.positions);
        GlobState {
            positions: stepped
                .map(|(glob, positions)| glob.step(positions, name))
                .collect(),
        }
    }

    /// Whether a file at this place is matched.
    pub fn matches(&self, state: &GlobState) -> bool {
        let mut pairs = self.globs.iter().zip(&state.positions);
        pairs.any(|(glob, positions)| positions.contains(&glob.segments.len()))
    }

    /// Whether anything below this place can be matched.
    pub fn may_match_below(&self, state: &GlobState) -> bool {
        let mut pairs = self.globs.iter().zip(&state.positions);
        pairs.any(|(glob, positions)| positions.iter().any(|position| *position < glob.segments.len()))
    }
}

/// One name against one pattern without slashes: on a mismatch only the last `*` is extended, which is enough,
/// because a later star can do whatever an earlier one could.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                n += character_length(&name[n..]);
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            Some(_) | None => {
                let Some((star_at, matched)) = star else {
                    return false;
                };
                star = Some((star_at, matched + 1));
                p = star_at + 1;
                n = matched + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// `?` is one character where the name is UTF-8, else one byte.
fn character_length(rest: &[u8]) -> usize {
    let expected = match rest.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        Some(_) | None => 1,
    };
    match rest.get(..expected) {
        Some(bytes) if std::str::from_utf8(bytes).is_ok() => expected,
        Some(_) | None => 1,
    }
}
