//! How a program of a service comes to run: by way of this program, started again as `shipit agent
//! launch`.
//!
//! ```text
//! agent                                   launcher (this program, one thread)          service
//!   hold     starts it ─────────────────▶ waits at its standard input
//!   (writes its pid down)
//!   release  sends what to start ───────▶ takes off what it inherited, changes
//!                                         user, and executes the program ────────────▶ the same pid
//!   ◀── nothing: it runs; or why it does not ──┘
//! ```
//!
//! So there is no moment in which a service runs that nobody has recorded: a launcher whose agent
//! dies reads the end of its input, and ends. And nothing of the agent's reaches the service: its
//! limits, its umask, its niceness, signals that it ignores. Variables go through the socket: the
//! launcher itself, which may be root still, has none of them.

mod attached;
mod become_user;
mod files;
mod hold;
mod launcher;
mod memory;
mod record;
mod user;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use attached::{Streams, at_terminal, resize, with_pipes};
pub use become_user::{become_user, becoming};
pub use files::{InstanceFiles, Reader, remove_stray_files, why_on_disk};
pub use hold::{Group, Held, hold, run};
pub use launcher::{calm, launch};
pub use memory::Handed;
pub use record::end_stray_commands;
pub use user::{Account, UnlistedGroup, User, account};

use crate::agent::posture::Limits;

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Start {
    /// The program; a bare name is looked for on the `PATH` of `env`.
    pub program: PathBuf,
    /// What it is told that it was called as; its path without it.
    #[serde(default)]
    pub name: Option<String>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where it starts.
    pub workdir: PathBuf,
    /// All of its environment, secrets included: never shown.
    pub env: BTreeMap<String, String>,
    /// What it reads on its standard input; nothing without it. Never shown.
    #[serde(default)]
    pub input: Option<Vec<u8>>,
    /// What it is handed in memory ([`Handed`]); nothing without it. Never shown.
    #[serde(default)]
    pub handed: Option<Vec<u8>>,
    /// As whom; as the agent's own user without it.
    pub user: Option<User>,
    /// Its limits.
    pub limits: Limits,
    /// Whether a socket comes with it.
    pub socket: Handover,
    /// The files of the image that the program may be one of.
    #[serde(skip)]
    pub image: Option<PathBuf>,
    /// Where it is written down that it runs, if it is a command; a service is recorded elsewhere.
    #[serde(skip)]
    pub commands: Option<PathBuf>,
}

/// What is handed to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handover {
    /// None.
    None,
    /// One, as descriptor 3 (`sd_listen_fds(3)`).
    One,
    /// None, but a pipe that it reads as its standard input.
    Input,
    /// None, but a terminal that is its own, and its standard input.
    Terminal,
}

/// What the launcher says when it could not start the program: the system's error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Report {
    number: i32,
}
