//! `shipit rollback`

use crate::cli::Cx;
use crate::cli::arguments::EnvironmentArg;
use crate::cli::consent::{RunArgs, approve_and_run};
use crate::model::ReleaseNumber;
use crate::ops::plan::Request;
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit rollback          to the release that was live before this one
  shipit rollback --to 41  to release 41 of `shipit history`";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    /// The release; without it the one that had live traffic last before this.
    #[arg(long, value_name = "RELEASE")]
    to: Option<ReleaseNumber>,

    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let session = cx.session().await?;
    approve_and_run(cx, &session, &Request::Rollback(args.to), &args.run, None).await
}
