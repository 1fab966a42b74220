//! `shipit completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, Cx};
use crate::output::{Exit, Failure};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

#[allow(clippy::unnecessary_wraps)] // every command has the same form
pub(super) fn exec(_: &Cx, args: &Args) -> Result<Exit, Failure> {
    clap_complete::generate(
        args.shell,
        &mut Cli::command(),
        "shipit",
        &mut std::io::stdout(),
    );
    Ok(Exit::Done)
}
