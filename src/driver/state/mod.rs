//! Where history, journal and lock are kept.

pub mod local;
