//! `shipit schema`

use crate::cli::{Cx, print};
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
pub(super) fn exec(_: &Cx, args: &Args) -> Result<Exit, Failure> {
    let schema = if args.environment {
        environment_schema()
    } else {
        schema()
    };
    print(&format!(
        "{}\n",
        serde_json::to_string_pretty(&schema).unwrap_or_default()
    ));
    Ok(Exit::Done)
}
