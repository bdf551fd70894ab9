//! The harness of the system tests: it runs small programs in cells and looks at what came of them.
//!
//! ```text
//!  hostile::checks()   one row per check of the corpus: id, title, what it needs, body, control arm
//!        │
//!        ▼
//!  suite::run ──▶ Bench (a mode, a staging directory, a daemon where the mode is served)
//!                   │  program("fork_bomb.py").options(..).go()
//!                   ▼
//!                 `brig run --json` as the user of the mode ──▶ Seen (report, lines, time)
//!                   │
//!                   └─ assert::Surroundings before and after: nothing is left behind
//! ```
//!
//! A check is run in every mode; what a mode cannot give is skipped with its reason, never silently. A control
//! arm runs the same program without the walls and must see the effect, or the check would prove nothing.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod assert;
pub mod cell;
pub mod cells;
pub mod checks_page;
pub mod daemon;
pub mod engine;
pub mod exceptions;
pub mod groups;
pub mod hostile;
pub mod modes;
pub mod needs;
pub mod posture;
pub mod process;
pub mod record;
pub mod scripted_engine;
pub mod seen;
pub mod skip;
pub mod slack;
pub mod stage;
pub mod suite;
pub mod system_calls_page;
pub mod witness;
