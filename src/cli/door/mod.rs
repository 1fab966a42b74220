//! The commands of the front doors: the server itself, and those that ask it through its socket.

pub mod client;
pub mod deliveries;
pub mod follow;
pub mod hook;
pub mod jobs;
pub mod serve;
pub mod trigger;

use std::path::PathBuf;

/// Where the server is.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct SocketArg {
    /// The socket of the server on this machine.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = crate::config::server::SOCKET,
        env = "SHIPIT_SOCKET",
        hide_env_values = true
    )]
    pub socket: PathBuf,
}
