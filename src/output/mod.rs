//! What people and programs read: views of plans, events, outcomes and errors.
//!
//! stdout carries the result, stderr progress and messages. Uses `model`; nothing here does any work. Texts
//! carry their colours as ANSI codes; `anstream` takes them out where nobody could see them.

pub mod events;
pub mod failure;
pub mod garbage;
pub mod history;
pub mod outcome;
mod paint;
pub mod plan;
pub mod status;

pub use failure::{Exit, Failure};

/// In which form a result is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For a person.
    #[default]
    Human,
    /// One versioned document; for a run, one event a line.
    Json,
    /// For a comment on a change request.
    Markdown,
}
