//! Build one Linux jail and start one program in it; keep many of them. The only crate of Brig with `unsafe` code,
//! and the one to read for the security argument.
//!
//! ```text
//!  daemon (reads the network, has no power)       [`client`], [`confine`], [`exec_spec`], [`files`]
//!     │  [`protocol`]: fixed-size records, a request names limits and never a path, a uid or a policy
//!     ▼
//!  keeper (has power, reads no network)           [`keeper`]: loop, deadlines, spares, refused calls, facts
//!     │  outer.rs: one user namespace, mapped once · cgroup/: groups and limits · launch.rs: clones PID 1
//!     │  [`plan`]: what to build, as data · [`policy`]: the system calls, as commented data
//!     ▼  [`control`]: fixed-size records
//!  brig-jail-init, PID 1 of a cell                [`child`]: the stages, as types · supervise.rs: reaps, keeps time
//!     │  [`stage`]: what failed, as *(stage, item, errno)*; [`remedy`]: what to do about it
//!     ▼
//!  the program
//! ```
//!
//! Where an engine makes the cells, the same `brig-jail-init` is PID 1 of its containers, see [`container`].
//!
//! **A jail guarantees**, whatever its program does: it sees its image (read-only), its own `/workspace`, `/tmp` and
//! `/dev/shm`, a loopback interface, and its own processes; it can call only what the policy lists; it gains no
//! capability and no other uid; it ends, with everything that it started, at its wall limit at the latest, and when
//! its keeper or daemon dies; what the kernel counted of it is told, and nothing that it says is believed.
//!
//! **It does not guarantee** anything against a bug in the kernel behind an allowed call, nor that two cells cannot
//! learn of each other's load by timing. Without control groups ([`protocol::CgroupKind::None`]) memory and CPU time
//! are limited per process and not per cell; without a uid of its own ([`protocol::UidKind::Own`]) a cell's files and
//! processes belong, outside, to the user who runs Brig. Both are in every receipt.

pub mod boot_time;
pub mod bpf;
mod cgroup;
pub mod child;
pub mod client;
pub mod confine;
pub mod container;
pub mod control;
pub mod embedded;
pub mod enter;
mod enter_launch;
pub mod exec_spec;
pub mod files;
mod image;
mod image_root;
pub mod keeper;
mod launch;
mod outer;
pub mod plan;
pub mod policy;
pub mod protocol;
pub mod record;
pub mod remedy;
pub mod restart;
pub mod stage;
mod supervise;
mod sys;
