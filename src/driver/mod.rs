//! What implements the ports, a folder each. Uses `port` and `model` only; nothing but `ops`'
//! wiring names a concrete driver.

pub mod aws;
pub mod builder;
pub mod check;
pub mod forge;
pub mod hook;
pub mod host;
mod http;
pub mod inventory;
pub mod kubernetes;
pub mod notify;
pub mod queue;
pub mod redacted;
pub mod registry;
pub mod render;
mod retry;
pub mod runner;
pub mod scm;
pub mod secret;
pub mod signer;
pub mod state;
