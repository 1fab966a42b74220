//! `shipit completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Cx};
use crate::output::{Exit, Failure, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit completions bash > /etc/bash_completion.d/shipit   for all users
  shipit completions zsh                                     to the standard output";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

#[allow(clippy::unnecessary_wraps)] // every command has the same form
pub(super) fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "shipit", &mut script);
    cx.screen
        .show(&Page::document(&String::from_utf8_lossy(&script)));
    Ok(Exit::Done)
}
