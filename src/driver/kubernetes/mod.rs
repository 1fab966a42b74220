//! Kubernetes: its API server as a client sees it, and the engine that runs on it. The store of the
//! same name is in `state`.

pub mod client;
pub mod engine;
