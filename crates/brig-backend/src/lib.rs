//! brig-backend
