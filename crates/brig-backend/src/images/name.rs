//! The two ways in which a root file system is named: by people, and by its content.

use super::ImageError;
use brig_core::spec::ImageName;
use brig_jail::protocol::ImageDigest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest name.
const NAME_MAX: usize = 64;

/// A name as the store takes it: it becomes a file name, a label of an engine and a word of a command line.
///
/// # Errors
/// What is wrong with it.
pub fn checked_name(name: &str) -> Result<ImageName, ImageError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = name.len() <= NAME_MAX
        && name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
    let why = if !fits {
        "use up to 64 lower-case letters, digits, `.`, `_` and `-`, a letter or a digit first"
    } else if name == ImageName::host().0 {
        "that name always means the host's own Python"
    } else {
        return Ok(ImageName(name.to_owned()));
    };
    Err(ImageError::BadName {
        // Whoever sends a megabyte does not get it back.
        name: name.chars().take(NAME_MAX).collect(),
        why,
    })
}

/// SHA-256 of a root file system, as a normalised archive of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootDigest([u8; 32]);

impl RootDigest {
    /// From the bytes of the hash.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the hash.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As the keeper is asked for it.
    #[must_use]
    pub const fn for_keeper(&self) -> ImageDigest {
        ImageDigest(self.0)
    }
}

impl fmt::Display for RootDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RootDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootDigest({self})")
    }
}

/// Text that is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the digest of a root file system: 64 hexadecimal digits in lower case")]
pub struct InvalidDigest;

impl FromStr for RootDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        if text.len() != 2 * bytes.len() {
            return Err(InvalidDigest);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else {
                return Err(InvalidDigest);
            };
            let (high, low) = digit(*high).zip(digit(*low)).ok_or(InvalidDigest)?;
            *byte = high << 4 | low;
        }
        // All zeros mean the host to the keeper; no content has that hash.
        if bytes == ImageDigest::HOST.0 {
            return Err(InvalidDigest);
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for RootDigest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<RootDigest> for String {
    fn from(digest: RootDigest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_mean_a_place_or_the_host_are_refused() {
        for name in ["python", "python-data", "0.1_b", "a", &"x".repeat(64)] {
            assert_eq!(checked_name(name).unwrap(), ImageName(name.to_owned()));
        }
        for name in [
            "",
            "host",
            ".",
            "..",
            "../python",
            "a/b",
            "-python",
            "Python",
            "a b",
            "a\0",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(checked_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn only_one_text_means_a_digest() {
        let text = "a0".repeat(32);
        assert_eq!(text.parse::<RootDigest>().unwrap().to_string(), text);
        for wrong in [
            "a0".repeat(31),
            "a0".repeat(33),
            "A0".repeat(32),
            "g0".repeat(32),
            "00".repeat(32),
            format!("../{}", "a".repeat(61)),
            format!("ä{}", "a".repeat(62)),
        ] {
            assert_eq!(wrong.parse::<RootDigest>(), Err(InvalidDigest), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_digest_survives_its_text(bytes in any::<[u8; 32]>().prop_filter("zeros mean the host", |bytes| *bytes != [0; 32])) {
            let digest = RootDigest::new(bytes);
            prop_assert_eq!(digest.to_string().parse::<RootDigest>(), Ok(digest));
            prop_assert_eq!(digest.for_keeper().0, bytes);
        }
    }
}
