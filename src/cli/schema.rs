//! `shipit schema`

use crate::cli::Cx;
use crate::config::server::server_schema;
use crate::config::{environment_schema, schema};
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit schema > shipit.schema.json              for an editor
  shipit schema --environment > env.schema.json   of environments/*.yaml
  shipit schema --server > server.schema.json     of the server.yaml of `shipit serve`";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The schema of `environments/*.yaml` instead.
    #[arg(long)]
    environment: bool,

    /// The schema of `server.yaml` instead.
    #[arg(long, conflicts_with = "environment")]
    server: bool,
}

#[allow(clippy::unnecessary_wraps)] // every command has the same form
pub(super) fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let schema = match (args.environment, args.server) {
        (true, _) => environment_schema(),
        (false, true) => server_schema(),
        (false, false) => schema(),
    };
    cx.screen
        .json(serde_json::to_value(schema).unwrap_or_default());
    Ok(Exit::Done)
}
