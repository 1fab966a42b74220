//! Rendering a text that somebody else wrote: bounded in length, in steps, in what comes out, in
//! time and in memory.
//!
//! A template is a program. minijinja counts its steps, but a dozen of them can fill all memory, or
//! nest deeper than any stack, and then nobody is left who could say which template it was. So it
//! is rendered by another process of this program, which may not have more than [`MEMORY`]
//! ([`worker`]); what kills that one is a fault of the template. Whoever uses the library without
//! that program ([`isolate`]) renders on a thread, with the other bounds alone.

mod bounded;
mod worker;

use std::fmt;

pub use worker::{isolate, serve};

/// The longest template.
const LONGEST: usize = 1 << 20;
/// The longest tag: what stands between `{{` and `}}`. It bounds how deep one expression can nest.
const LONGEST_TAG: usize = 8 << 10;
/// The most that comes out.
const MOST: usize = 4 << 20;
/// How many steps a template may take.
const STEPS: u64 = 1_000_000;
/// How much memory the process may have that renders, besides what it had in the beginning.
const MEMORY: u64 = 512 << 20;
/// How long a template may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// The stack that a template has.
const STACK: usize = 64 << 20;

/// A template, and what it sees.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Request {
    /// What errors call it.
    pub name: String,
    pub text: String,
    /// The names that it sees.
    pub known: serde_json::Value,
}

/// Why a template cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct RenderFault {
    /// In words.
    pub reason: String,
    /// Counted from 1, as far as it is known.
    pub line: Option<usize>,
}

impl RenderFault {
    fn say(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            line: None,
        }
    }
}

impl fmt::Display for RenderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Renders a template.
pub(super) fn render(request: &Request) -> Result<String, RenderFault> {
    bounded::look_at(&request.text)?;
    match worker::ask(request) {
        Some(answer) => answer,
        None => bounded::on_a_thread(request),
    }
}
