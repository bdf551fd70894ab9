//! Build one Linux jail and start one program in it.
pub mod control;
pub mod exec_spec;
pub mod plan;
pub mod protocol;
pub mod stage;
mod cgroup;
pub mod client;
pub mod embedded;
pub mod keeper;
mod sys;
mod launch;
mod outer;
pub mod remedy;
