//! Where history, journal and lock are kept.

pub(in crate::driver) mod failure;
pub mod host;
pub mod kubernetes;
pub mod local;
pub(in crate::driver) mod lock;
pub(in crate::driver) mod numbered;
mod object_lock;
pub mod objects;
pub mod s3;
pub(in crate::driver) mod versioned;
