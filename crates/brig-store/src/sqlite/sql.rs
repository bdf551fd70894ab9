//! Every SQL text: one file per operation.

macro_rules! sql {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) const $name: &str = include_str!(concat!("../../sql/sqlite/", $file));)*
    };
}

sql! {
    ALL_FILES = "all_files.sql";
    APPEND = "append.sql";
    APPEND_TRIM = "append_trim.sql";
    CANCELLING = "cancelling.sql";
    CLAIM = "claim.sql";
    COUNTS = "counts.sql";
    END = "end.sql";
    EVENTS = "events.sql";
    GET = "get.sql";
    GET_FILE = "get_file.sql";
    INTEGRITY = "integrity.sql";
    LEASES_EXPIRED = "leases_expired.sql";
    LIST = "list.sql";
    LIST_FILES = "list_files.sql";
    LOST_WORKERS = "lost_workers.sql";
    NEXT_EXPIRY = "next_expiry.sql";
    PURGE_CUTOFF = "purge_cutoff.sql";
    PURGE_FILES = "purge_files.sql";
    PURGE_JOBS = "purge_jobs.sql";
    PURGE_KEYS = "purge_keys.sql";
    PUT_FILE = "put_file.sql";
    QUEUE_EXPIRED = "queue_expired.sql";
    REMOVE_FILE = "remove_file.sql";
    RENEW = "renew.sql";
    REQUEUE = "requeue.sql";
    ROLLBACK = "rollback.sql";
    STATE = "state.sql";
    STORED_BYTES = "stored_bytes.sql";
    SUBMIT = "submit.sql";
}
