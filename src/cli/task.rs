//! `shipit task`

use crate::cli::Cx;
use crate::cli::consent::{RunArgs, approve_and_run};
use crate::model::TaskName;
use crate::ops::plan::Request;
use crate::output::{Exit, Failure};
use crate::plan::Again;

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit task report                   run a task of the configuration in the live release
  shipit task migrate --again          once more, though it was run for this release
  shipit task report --auto-approve    do not ask";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The task, by its name under `tasks`.
    name: TaskName,

    /// Run it even though it was run for the live release.
    #[arg(long)]
    again: bool,

    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let again = if args.again { Again::Yes } else { Again::No };
    let request = Request::Task {
        name: args.name.clone(),
        again,
    };
    approve_and_run(cx, &session, &request, &args.run, None).await
}
