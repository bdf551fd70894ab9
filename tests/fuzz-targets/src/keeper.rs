//! The records between the daemon and the keeper: every record has exactly one encoding.

use brig_jail::protocol::{REPLY_BYTES, REQUEST_BYTES, Reply, Request};

/// A record of any length, and the same filled up to the two real ones.
pub fn target(data: &[u8]) {
    for record in [data.to_vec(), sized(data, REQUEST_BYTES)] {
        if let Some(request) = Request::decode(&record) {
            assert_eq!(
                request.encode().as_slice(),
                record,
                "{request:?} has two encodings"
            );
        }
    }
    for record in [data.to_vec(), sized(data, REPLY_BYTES)] {
        if let Some(reply) = Reply::decode(&record) {
            assert_eq!(reply.encode().as_slice(), record, "{reply:?} has two encodings");
        }
    }
}

pub(crate) fn sized(data: &[u8], length: usize) -> Vec<u8> {
    let mut record = data.to_vec();
    record.resize(length, 0);
    record
}
