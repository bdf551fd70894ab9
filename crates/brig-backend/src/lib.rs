//! Everything that can run a program, behind the port [`brig_core::Backend`]: the jail, and a scripted fake.
//!
//! ```text
//!  engine ─ Backends (by name) ─▶ JailBackend ── keeper_link ──▶ keeper (another process, has the power)
//!         ─ Environment ──▶ cell/ (what every kind of cell has in common)
//!                             ├── job channel ─▶ ExecSpec, then the runner channel (runner/)
//!                             ├── output ──────▶ output.rs (bounded, redacted) ─▶ OutputSink
//!                             └── files ───────▶ files.rs (inputs placed, outputs collected)
//! ```
//!
//! What a program says of itself is bounded and reported as such; how it ended comes from the kernel alone.
#![forbid(unsafe_code)]

mod backends;
mod cell;
pub mod docker;
pub mod fake;
pub mod files;
pub mod hint;
pub mod images;
pub mod jail;
pub mod keeper_link;
pub mod output;
pub mod receipt;
pub mod redact;
pub mod runner;

pub use backends::Backends;
pub use cell::Compile;
pub use docker::{DockerBackend, DockerConfig};
pub use fake::FakeBackend;
pub use jail::{JailBackend, JailConfig};
pub use keeper_link::Keeper;
