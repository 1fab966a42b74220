//! The commands of the front doors: the server itself, and those that ask it through its socket.

pub mod client;
pub mod clients;
pub mod deliveries;
pub mod follow;
pub mod hook;
pub mod jobs;
pub mod serve;
pub mod trigger;

use std::path::PathBuf;

use client::Client;

use crate::config::server::{LoadedServer, load_server};
use crate::output::{Exit, Failure};

/// The socket of this machine's server.
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

/// Which server.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArg {
    #[command(flatten)]
    pub socket: SocketArg,

    /// A server on another machine, as `https://ship.example.com:9443`.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SHIPIT_SERVER",
        hide_env_values = true
    )]
    pub server: Option<String>,

    /// The folder that `shipit client issue` wrote, for --server.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SHIPIT_IDENTITY",
        hide_env_values = true
    )]
    pub identity: Option<PathBuf>,
}

impl ServerArg {
    /// The server, once it lets us in.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let Some(url) = &self.server else {
            return Ok(Client::new(&self.socket.socket));
        };
        let identity = self.identity.as_deref().ok_or_else(|| {
            Failure::say(
                Exit::Usage,
                "a server on another machine is asked with a certificate",
                "--identity names the folder that `shipit client issue` wrote on the server's \
                 machine",
            )
        })?;
        Client::connect(url, identity).await
    }
}

/// Which server of this machine.
#[derive(Debug, clap::Args)]
pub struct ConfigArg {
    /// The server's configuration: what it listens to, for which projects, and what they may.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/shipit/server.yaml",
        env = "SHIPIT_SERVER_CONFIG",
        hide_env_values = true
    )]
    pub config: PathBuf,
}

impl ConfigArg {
    fn load(&self) -> Result<LoadedServer, Failure> {
        load_server(&self.config).map_err(|error| Failure::new(Exit::Failed, error))
    }
}
