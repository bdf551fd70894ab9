//! brig-daemon
