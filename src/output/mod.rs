//! What people and programs read: views of plans, events, outcomes and errors.
//!
//! stdout carries the result, stderr progress and messages. Uses `model` and `redact`; nothing here
//! does any work. A view is a [`Page`] or a document, and a [`Screen`] prints it: there secrets are
//! taken out, and what a text from outside has of control characters is made visible. Nothing else
//! prints.

pub mod agent;
mod changes;
pub mod comparison;
pub mod document;
pub mod drift;
pub mod events;
pub mod failure;
pub mod garbage;
pub mod graph;
pub mod history;
mod hooks;
pub mod outcome;
pub mod page;
mod paint;
pub mod plan;
pub mod rehearsal;
mod report;
pub mod reports;
pub mod screen;
pub mod state;
pub mod status;
mod task;
#[cfg(test)]
mod tests;
pub mod verdicts;
mod visible;

pub use document::Kind;
pub use failure::{Exit, Failure};
pub use page::{Line, Page};
pub use screen::{Coloring, Screen, Verbosity, paints_messages};

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

impl Format {
    /// As it is asked for.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
            Self::Markdown => "markdown",
        }
    }
}
