//! Logs: the instances', which their processes write to, and the agent's own.

pub mod file;
pub mod instances;
pub(in crate::agent) mod keeper;
pub mod own;
pub(in crate::agent) mod reader;
mod times;
