//! What the fuzzers call: every decoder that meets bytes which somebody else wrote, with what must hold for any bytes.
//!
//! ```text
//!  tests/fuzz/fuzz_targets/NAME.rs   libFuzzer, nightly ─┐
//!                                                        ├──▶ NAME::target(bytes): panics where something is wrong
//!  tests/seeds.rs                    cargo test, stable ─┘         ▲
//!                                                                  └─ tests/fuzz/seeds/NAME/*
//! ```
//!
//! "No crash" is the least of it: what is accepted is encoded and read again and must be the same, what is kept is
//! bounded by what came, a path never leaves its directory, and a second, slower implementation agrees.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a target says that something is wrong by panicking"
)]

pub mod config;
pub mod container;
pub mod control;
pub mod exec_spec;
pub mod files;
pub mod keeper;
pub mod mutate;
pub mod plan;
pub mod policy;
pub mod redact;
pub mod runner;
pub mod wire;

/// A target: any bytes, and a panic where something is wrong.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder of seeds.
pub const TARGETS: [(&str, Target); 11] = [
    ("config", config::target),
    ("container", container::target),
    ("control", control::target),
    ("exec_spec", exec_spec::target),
    ("files", files::target),
    ("keeper", keeper::target),
    ("plan", plan::target),
    ("policy", policy::target),
    ("redact", redact::target),
    ("runner", runner::target),
    ("wire", wire::target),
];

/// Cuts `bytes` into pieces as `cuts` says (a length each, in turn); no cuts: one piece.
fn pieces<'a>(bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let length = cuts.next().map_or(rest.len(), |cut| usize::from(*cut) + 1);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The first byte, as a choice, and the rest.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first()
        .map_or((0, data), |(first, rest)| (*first, rest))
}
