//! Ids. Job, worker and file ids are uuid v7: they sort by time and cannot be guessed.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind} id: expected {expected}")]
pub struct InvalidId {
    kind: &'static str,
    expected: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, later in order than every one made before on this machine.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The 16 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From 16 stored bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId { kind: $kind, expected: "a lower-case hyphenated uuid" };
                // Only the canonical form, so that one id has one spelling in logs, paths and keys.
                if text.len() != 36 {
                    return Err(invalid);
                }
                Uuid::try_parse(text).ok().filter(|id| id.to_string() == text).map(Self).ok_or(invalid)
            }
        }
    };
}

uuid_id!(
    /// One job.
    JobId, "job"
);
uuid_id!(
    /// One process that claims jobs (a daemon's life).
    WorkerId, "worker"
);
uuid_id!(
    /// One stored file: code, stdin, an input or an output.
    FileId, "file"
);

/// A tenant's name: 1 to 63 characters of `a-z`, `0-9`, `-` and `_`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

impl TenantId {
    /// The tenant of a daemon without keys.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".to_owned())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let bytes = text.as_bytes();
        let legal = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        let starts_well = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        if bytes.len() <= 63 && starts_well && bytes.iter().all(legal) {
            Ok(Self(text))
        } else {
            Err(InvalidId {
                kind: "tenant",
                expected: "1 to 63 of a-z, 0-9, - and _",
            })
        }
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> String {
        tenant.0
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_has_one_spelling() {
        let id = JobId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<JobId>().is_err());
        assert!("../../etc/passwd".parse::<JobId>().is_err());
        assert!(id.to_string().replace('-', "").parse::<JobId>().is_err());
    }

    #[test]
    fn later_ids_sort_later() {
        let ids: Vec<JobId> = (0..100).map(|_| JobId::generate()).collect();
        let mut sorted = ids.clone();
        sorted.sort();
        assert_eq!(ids, sorted);
    }

    #[test]
    fn a_tenant_name_cannot_be_a_path() {
        for bad in ["", "..", "a/b", "A", "-a", "a b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
        assert!("team-1_x".parse::<TenantId>().is_ok());
    }
}
