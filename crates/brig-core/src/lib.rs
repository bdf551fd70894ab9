//! brig-core
