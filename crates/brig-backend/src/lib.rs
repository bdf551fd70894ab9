//! Everything that can run a program, behind the port [`brig_core::Backend`]: the jail, and a scripted fake.
//!
//! ```text
//!  engine ─ Backend / Environment ─▶ JailBackend ── keeper_link ──▶ keeper (another process, has the power)
//!                                        │
//!                                        ├── job socket ──▶ ExecSpec, then the runner channel (runner/)
//!                                        ├── pipes ───────▶ output.rs (bounded, redacted) ─▶ OutputSink
//!                                        └── enter-helper ▶ files.rs (inputs placed, outputs collected)
//! ```
//!
//! What a program says of itself is bounded and reported as such; how it ended comes from the kernel alone.
#![forbid(unsafe_code)]

pub mod fake;
pub mod files;
pub mod hint;
pub mod jail;
pub mod keeper_link;
pub mod output;
pub mod receipt;
pub mod redact;
pub mod runner;

pub use fake::FakeBackend;
pub use jail::{JailBackend, JailConfig};
pub use keeper_link::Keeper;
