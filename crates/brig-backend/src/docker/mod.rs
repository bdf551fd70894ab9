//! Cells in containers of an engine.
//!
//! ```text
//!  daemon (no power) ── protocol.rs ──▶ broker (alone opens the engine's socket) ──▶ engine ──▶ container
//!      └────────── the container's wire, relayed by the broker as bytes ──────────────────────▶ /.brig/init
//! ```

pub mod broker;
pub mod protocol;
