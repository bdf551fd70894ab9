//! Housekeeping beside the engine: time-outs that nobody waits for, and what may be forgotten.

pub(crate) mod backend_watch;
pub(crate) mod cleaner;
pub(crate) mod rescuer;
