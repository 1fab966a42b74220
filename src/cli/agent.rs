//! `shipit agent`

use std::path::PathBuf;

use clap::Subcommand;

use crate::cli::{Cx, print, signals};
use crate::ops::agent;
use crate::output::{Exit, Failure};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: What,

    /// The agent's folder; without it `SHIPIT_AGENT_DIR`, or the user's own.
    #[arg(long, global = true, value_name = "DIR")]
    agent_directory: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run the agent in the foreground. The other commands start one by themselves.
    Run,
    /// Say whether an agent runs, and what it has.
    Status,
    /// Stop the agent. The services run on, and the next agent takes them back.
    Stop {
        /// Stop the services too.
        #[arg(long)]
        services: bool,
    },
    /// Show what the agent itself writes.
    Logs {
        /// How many of the last lines.
        #[arg(short = 'n', long, default_value_t = 50)]
        tail: usize,
    },
    /// Print a systemd unit with socket activation, so that a restart refuses no connection.
    Unit,
}

pub(super) async fn exec(_: &Cx, args: Args) -> Result<Exit, Failure> {
    let directory = args.agent_directory;
    match args.command {
        What::Run => agent::run(directory, signals::listen().interrupted).await?,
        What::Status => print(&agent::status(directory).await?),
        What::Stop { services } => print(&agent::stop(directory, services.into()).await?),
        What::Logs { tail } => print(&agent::logs(directory, tail)),
        What::Unit => print(&agent::unit(directory).await?),
    }
    Ok(Exit::Done)
}
