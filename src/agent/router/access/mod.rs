//! The access log: one line of JSON for each request, written by a thread of its own.
//!
//! Traffic never waits for the disk: a full queue drops lines, counts them, and says so in the log.

mod entry;
mod log;
pub mod refused;

pub use entry::AccessEntry;
pub use log::AccessLog;

use entry::Line;
