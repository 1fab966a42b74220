//! The commands. A file each: arguments, a call into `ops`, a view. Start with [`run`].
//!
//! May use everything; nothing uses it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::output::{Exit, Failure};

/// One plan from commit to live traffic.
#[derive(Debug, Parser)]
#[command(name = "shipit", version, about, max_term_width = 100)]
pub struct Cli {
    /// The folder with `shipit.yaml`.
    #[arg(short = 'C', long, global = true, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {}

/// What every command gets besides its own arguments.
#[derive(Debug, Clone)]
pub struct Cx {
    /// The folder with `shipit.yaml`.
    pub directory: PathBuf,
}

/// Runs one command.
pub async fn run(cli: Cli) -> Result<Exit, Failure> {
    let _cx = Cx { directory: cli.directory };
    match cli.command {}
}
