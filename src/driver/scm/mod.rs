//! Source control.

pub mod git;
