//! The agent's contract as code, generated from `proto/` and checked in, so that nobody needs a
//! protocol compiler to build shipit. A test generates it anew and compares.
//!
//! Used by the agent and by the driver that talks to it; [`convert`] is what both use to go between
//! the messages and the model.

pub mod commands;
pub mod convert;
mod directory;
pub mod tasks;

/// The messages, the client and the server.
#[allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications)]
pub mod v1 {
    include!("shipit.agent.v1.rs");
}

/// What `shipit serve` and commands on other machines say to each other.
#[allow(clippy::all, clippy::pedantic, missing_docs, unused_qualifications)]
pub mod server_v1 {
    include!("shipit.server.v1.rs");
}

pub use directory::{Directory, VARIABLE as DIRECTORY_VARIABLE};

/// The version of the contract: 9 since services have tasks with a schedule, which an agent that
/// does not know it would never run.
pub const CONTRACT: u32 = 9;
