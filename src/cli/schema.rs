//! `shipit schema`

use crate::cli::Cx;
use crate::config::{environment_schema, schema};
use crate::output::{Exit, Failure};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The schema of `environments/*.yaml` instead.
    #[arg(long)]
    environment: bool,
}

#[allow(clippy::unnecessary_wraps)] // every command has the same form
pub(super) fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let schema = if args.environment {
        environment_schema()
    } else {
        schema()
    };
    cx.screen.document(&schema);
    Ok(Exit::Done)
}
