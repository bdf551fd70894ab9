//! What every job store must do, whatever it is made of. Each behaviour is one function; an adapter's test file
//! makes a fresh store for each of them.

pub mod events;
pub mod files;
pub mod given;
pub mod housekeeping;
pub mod lists;
pub mod queue;
pub mod states;
