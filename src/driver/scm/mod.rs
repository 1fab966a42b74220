//! Source control.

pub mod ci;
pub mod git;
