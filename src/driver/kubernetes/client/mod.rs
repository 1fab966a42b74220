//! The API server: who it is, how it is reached, and how it is asked.

pub(in crate::driver) mod api;
pub(in crate::driver) mod connect;
pub(in crate::driver) mod kubeconfig;
mod login_program;

pub use connect::{ClusterConnection, ClusterLogin, ClusterPlace};
