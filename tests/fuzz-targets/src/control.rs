//! The records between the keeper and PID 1 of a cell: every record has exactly one encoding.

use crate::keeper::sized;
use brig_jail::control::{FROM_INIT_BYTES, FromInit, TO_INIT_BYTES, ToInit};

/// A record of any length, and the same filled up to the two real ones.
pub fn target(data: &[u8]) {
    for record in [data.to_vec(), sized(data, TO_INIT_BYTES)] {
        if let Some(decoded) = ToInit::decode(&record) {
            assert_eq!(
                decoded.encode().as_slice(),
                record,
                "{decoded:?} has two encodings"
            );
        }
    }
    for record in [data.to_vec(), sized(data, FROM_INIT_BYTES)] {
        if let Some(decoded) = FromInit::decode(&record) {
            assert_eq!(
                decoded.encode().as_slice(),
                record,
                "{decoded:?} has two encodings"
            );
        }
    }
}
