//! A cell in a container of an engine: `brig-jail-init --container` as PID 1 of the container, and what the daemon and
//! it say to each other.
//!
//! ```text
//!  daemon ──▶ broker ──▶ engine ──▶ stdin  ─▶ ┌──────────────────────────────┐  pipes  ┌─────────┐
//!         frames, relayed as they are         │ PID 1: brig-jail-init        │ ──────▶ │ program │
//!  daemon ◀── broker ◀── engine ◀── stdout ◀─ └──────────────────────────────┘ ◀────── └─────────┘
//! ```
//!
//! An engine gives two streams of bytes and nothing else: no descriptor crosses. So everything that a cell of the jail
//! has a pipe or a socket for is a *channel* of these streams: [`wire`] cuts the bytes into frames, [`flow`] keeps one
//! channel from standing in another's way.
//!
//! Nothing here is trusted by the daemon: PID 1 runs beside the program, with its uid. What it says is a claim about its
//! own job, checked against what the engine and the kernel count (see `docs/threat-model.md`).

mod conversation;
pub mod flow;
mod init;
mod job;
mod pipes;
mod streams;
mod surroundings;
pub mod wire;

pub use init::run;

/// System calls that PID 1 needs beyond those which the policy allows to programs: none. A filter for a container is the
/// policy and nothing more (a test runs PID 1 under it).
pub const CALLS: [&str; 0] = [];
