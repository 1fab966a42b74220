//! Rendering templates in a process of their own: see [`crate::desired::render`].

pub use crate::desired::render::{isolate, serve};
