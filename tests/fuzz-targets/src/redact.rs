//! The redaction of a job's output: in whatever pieces it comes, no secret is shown, and nothing else is lost.

use brig_backend::output::{Outlet, Produced};
use brig_backend::redact::{MARK, Redactor, SHORTEST, Secrets};
use brig_core::StreamName;

/// A line of secrets (divided by byte 0xff), a byte for the cut into pieces, then the output.
pub fn target(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let values = parts.next().unwrap_or_default();
    let values: Vec<&[u8]> = values.split(|byte| *byte == 0xff).take(8).collect();
    let (cut, output) = crate::choice(parts.next().unwrap_or_default());
    // The slow way is quadratic.
    let output = &output[..output.len().min(2048)];
    let secrets = Secrets::new(&values);

    let mut redactor = Redactor::default();
    let mut shown = Vec::new();
    for piece in crate::pieces(output, &[cut]) {
        shown.extend(redactor.push(&secrets, piece));
    }
    shown.extend(redactor.finish());
    assert_eq!(shown, slowly(&values, output), "another text is shown");
    counted(&values, output, cut);
}

/// Every byte of every occurrence is struck out, and each run of struck bytes becomes one mark.
fn slowly(values: &[&[u8]], output: &[u8]) -> Vec<u8> {
    let mut secret = vec![false; output.len()];
    for value in values.iter().filter(|value| value.len() >= SHORTEST) {
        for start in 0..output.len() {
            if output[start..].starts_with(value) {
                secret[start..start + value.len()].fill(true);
            }
        }
    }
    let mut shown = Vec::new();
    for (index, byte) in output.iter().enumerate() {
        if !secret[index] {
            shown.push(*byte);
        } else if index == 0 || !secret[index - 1] {
            shown.extend_from_slice(MARK);
        }
    }
    shown
}

/// The outlet counts what is shown, and nothing is lost below the limit.
fn counted(values: &[&[u8]], output: &[u8], cut: u8) {
    let most = u64::from(cut) * 4;
    let outlet = Outlet::new(most, Secrets::new(values));
    let mut taken = 0;
    for piece in crate::pieces(output, &[cut]) {
        taken += piece.len() as u64;
        let expected = if taken > most {
            Produced::Exceeded
        } else {
            Produced::Within
        };
        assert_eq!(outlet.take(StreamName::Stdout, piece), expected);
    }
    outlet.close();
    let within = usize::try_from(taken.min(most)).unwrap_or(usize::MAX);
    let shown = slowly(values, &output[..within.min(output.len())]);
    let lost = taken.saturating_sub(most);
    assert_eq!(outlet.totals(), (shown.len() as u64 + lost, 0), "miscounted");
}
