//! The program that a cell starts, as its stub reads it.

use brig_jail::exec_spec::{EXEC_SPEC_MAX, ExecSpec, ExecSpecError};

/// The JSON of a specification.
pub fn target(data: &[u8]) {
    let Ok(spec) = ExecSpec::decode(data) else {
        return;
    };
    let Ok(strings) = spec.strings() else {
        assert!(spec.encode().is_err(), "sent, though it cannot be carried out");
        return;
    };
    assert_eq!(strings.argv.len(), spec.argv.len());
    assert_eq!(strings.env.len(), spec.env.len());
    assert!(!strings.candidates.is_empty(), "no file to try");
    for (made, (name, value)) in strings.env.iter().zip(&spec.env) {
        let (left, right) = (name.as_bytes(), value.as_bytes());
        let mut parts = made.as_bytes().splitn(2, |byte| *byte == b'=');
        assert_eq!(parts.next(), Some(left), "the name is another");
        assert_eq!(parts.next(), Some(right), "the value is another");
    }
    match spec.encode() {
        Ok(message) => {
            let (length, json) = message.split_first_chunk::<4>().expect("a length");
            assert_eq!(u32::from_le_bytes(*length) as usize, json.len());
            assert!(json.len() <= EXEC_SPEC_MAX);
            assert_eq!(ExecSpec::decode(json), Ok(spec), "sent, it is another program");
        }
        Err(error) => assert!(matches!(error, ExecSpecError::TooLong { .. }), "{error}"),
    }
}
