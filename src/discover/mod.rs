//! What runs already, as a configuration that is proposed: from files of other tools, and from what
//! an engine or a registry says.
//!
//! Each source is a file of its own and a pure function from a foreign document to a
//! [`Proposal`]; [`render`] makes YAML of that. Nothing here asks anybody, and no value that looks
//! like a secret comes out: it becomes a reference. What has no counterpart becomes a [`Remark`]
//! beside the service that it is about. Uses `model` only. Start with [`proposal`].

mod compose;
mod containers;
mod copilot;
mod document;
mod durations;
mod erb;
mod file;
mod health;
mod kamal;
mod namespace;
mod ports;
mod proposal;
mod render;
mod repositories;
mod secret;
#[cfg(test)]
mod tests;
mod variables;
mod volumes;
mod written;
mod yaml;

pub use containers::{Container, of_containers};
pub use document::DiscoverError;
pub use file::of_file;
pub use namespace::{Objects, of_namespace};
pub use proposal::{Proposal, Remark};
pub use render::files;
pub use repositories::{FoundRepository, of_repositories};
pub use secret::is_said_of_secrets;
