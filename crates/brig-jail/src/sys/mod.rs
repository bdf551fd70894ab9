//! Every `unsafe` block of Brig: one operation each, with its proof.

pub(crate) mod capabilities;

pub(crate) mod child;

pub(crate) mod parent;
