//! The child program of every cell, embedded. It is never a file on disk: the keeper copies it into a sealed memory
//! file and executes that.

/// The bytes of `brig-jail-init`, built by `build.rs`.
pub(crate) static JAIL_INIT: &[u8] = include_bytes!(env!("BRIG_JAIL_INIT"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_program_is_embedded() {
        assert!(JAIL_INIT.starts_with(b"\x7fELF"));
        assert!(
            JAIL_INIT.len() < 3 << 20,
            "{} bytes: every cell pays for its size",
            JAIL_INIT.len()
        );
    }
}
