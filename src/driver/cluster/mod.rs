//! Clusters as engines.

pub mod kubernetes;
