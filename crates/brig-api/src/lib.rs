//! brig-api
