//! Records of stored files.

use super::field::{At, InvalidFields, id, required};
use super::time::{timestamp, timestamp_to_wire};
use crate::pb;
use brig_core::id::{FileId, JobId};
use brig_core::store::FileRecord;
use brig_core::time::Timestamp;

/// The record of a stored file as the wire carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Id.
    pub id: FileId,
    /// Name that the uploader or the program gave. Not a path: never use it as one unchecked.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// When it was complete.
    pub created: Timestamp,
    /// The job that produced it, if any.
    pub job: Option<JobId>,
}

impl From<&FileRecord> for StoredFile {
    fn from(record: &FileRecord) -> Self {
        // The tenant is left out on purpose: a caller has one, and learns of no other.
        let FileRecord {
            id,
            tenant: _,
            name,
            size,
            sha256,
            created,
            job,
        } = record;
        Self {
            id: *id,
            name: name.clone(),
            size: *size,
            sha256: *sha256,
            created: *created,
            job: *job,
        }
    }
}

impl From<&FileRecord> for pb::File {
    fn from(record: &FileRecord) -> Self {
        Self::from(&StoredFile::from(record))
    }
}

impl From<&StoredFile> for pb::File {
    fn from(file: &StoredFile) -> Self {
        let StoredFile {
            id,
            name,
            size,
            sha256,
            created,
            job,
        } = file;
        Self {
            file_id: id.to_string(),
            name: name.clone(),
            size_bytes: *size,
            sha256: sha256.to_vec(),
            create_time: Some(timestamp_to_wire(*created)),
            job_id: job.map(|job| job.to_string()).unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::File> for StoredFile {
    type Error = InvalidFields;

    fn try_from(wire: pb::File) -> Result<Self, InvalidFields> {
        let pb::File {
            file_id,
            name,
            size_bytes,
            sha256,
            create_time,
            job_id,
        } = wire;
        Ok(Self {
            id: id(&file_id).at("file_id")?,
            name,
            size: size_bytes,
            sha256: digest(&sha256).at("sha256")?,
            created: required(create_time).and_then(timestamp).at("create_time")?,
            job: optional_job(&job_id).at("job_id")?,
        })
    }
}

/// The 32 bytes of a SHA-256.
pub(super) fn digest(bytes: &[u8]) -> Result<[u8; 32], InvalidFields> {
    bytes.try_into().map_err(|_length| {
        InvalidFields::one(
            "",
            format!("must be the 32 bytes of a SHA-256, not {}", bytes.len()),
        )
    })
}

/// A job, or none where the text is empty.
pub(super) fn optional_job(text: &str) -> Result<Option<JobId>, InvalidFields> {
    if text.is_empty() {
        Ok(None)
    } else {
        id(text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::samples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_file_survives_the_wire(file in samples::stored_file()) {
            prop_assert_eq!(StoredFile::try_from(pb::File::from(&file)), Ok(file));
        }
    }

    #[test]
    fn a_digest_of_another_length_is_named() {
        let file = pb::File {
            file_id: FileId::generate().to_string(),
            sha256: vec![1; 31],
            ..pb::File::default()
        };
        assert_eq!(StoredFile::try_from(file).unwrap_err().0[0].field, "sha256");
    }
}
