//! Build one Linux jail and start one program in it.
pub mod control;
pub mod exec_spec;
pub mod plan;
pub mod protocol;
pub mod stage;
pub mod client;
pub mod embedded;
pub mod keeper;
mod sys;
