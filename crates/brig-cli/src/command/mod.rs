//! One file per command.

pub(crate) mod bench;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod image;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod submit;
