//! Paths inside a workspace.

use super::wire::Malformed;
use thiserror::Error;

/// Most bytes of a path.
pub const PATH_MAX: usize = 1024;
/// Most bytes of one name in a path.
pub const COMPONENT_MAX: usize = 255;
/// Most names in a path.
pub const DEPTH_MAX: usize = 64;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing.
    #[error("the path is empty")]
    Empty,
    /// It starts with a slash.
    #[error("the path is absolute; paths are relative to /workspace")]
    Absolute,
    /// It has `.`, `..` or an empty name in it.
    #[error("the path has `.`, `..` or an empty name in it")]
    Dots,
    /// A NUL byte.
    #[error("the path contains a NUL byte")]
    NulByte,
    /// Longer than [`PATH_MAX`].
    #[error("the path is longer than {PATH_MAX} bytes")]
    TooLong,
    /// A name longer than [`COMPONENT_MAX`].
    #[error("a name in the path is longer than {COMPONENT_MAX} bytes")]
    NameTooLong,
    /// More than [`DEPTH_MAX`] names.
    #[error("the path has more than {DEPTH_MAX} names")]
    TooDeep,
}

impl From<PathError> for Malformed {
    fn from(_: PathError) -> Malformed {
        Malformed
    }
}

/// A path below `/workspace`: plain names only. Bytes, since file names are not text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellPath(Vec<u8>);

impl CellPath {
    /// Checks a path.
    pub fn new(path: &[u8]) -> Result<CellPath, PathError> {
        if path.is_empty() {
            return Err(PathError::Empty);
        }
        if path.len() > PATH_MAX {
            return Err(PathError::TooLong);
        }
        if path.contains(&0) {
            return Err(PathError::NulByte);
        }
        if path.starts_with(b"/") {
            return Err(PathError::Absolute);
        }
        for (depth, name) in path.split(|byte| *byte == b'/').enumerate() {
            if matches!(name, b"" | b"." | b"..") {
                return Err(PathError::Dots);
            }
            if name.len() > COMPONENT_MAX {
                return Err(PathError::NameTooLong);
            }
            if depth >= DEPTH_MAX {
                return Err(PathError::TooDeep);
            }
        }
        Ok(CellPath(path.to_vec()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory it is in (`None`: the workspace), and its name there.
    pub fn split(&self) -> (Option<&[u8]>, &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (Some(&self.0[..slash]), &self.0[slash + 1..]),
            None => (None, &self.0),
        }
    }
}

/// A hostile name for people: printable text as it is, everything else (control characters, bytes that are not
/// UTF-8, marks that turn the direction of writing, the backslash itself) escaped.
pub fn escaped(name: &[u8]) -> String {
    let mut shown = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_plain(character) {
                shown.push(character);
            } else {
                shown.extend(character.escape_default());
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

fn is_plain(character: char) -> bool {
    let turns_direction = matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !character.is_control() && character != '\\' && !turns_direction
}
