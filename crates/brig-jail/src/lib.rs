//! brig-jail
