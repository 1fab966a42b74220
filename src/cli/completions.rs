//! `shipit completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Cx};
use crate::output::{Exit, Failure, Page};

/// The arguments.
#[derive(Debug, clap::Args)]
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
