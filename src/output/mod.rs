//! What people and programs read: views of plans, events, outcomes and errors.
//!
//! stdout carries the result, stderr progress and messages. Uses `model`; nothing here does any work.

pub mod failure;

pub use failure::{Exit, Failure};
