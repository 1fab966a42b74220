//! `shipit destroy`

use crate::cli::Cx;
use crate::cli::consent::{RunArgs, approve_and_run};
use crate::ops::plan::Request;
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit destroy --env staging                                 show the plan, ask for the name
  shipit destroy --env staging --auto-approve                  do not ask: for scripts
  shipit destroy --allow-data-loss PersistentVolumeClaim/data  consent to a loss";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    approve_and_run(cx, &session, &Request::Destroy, &args.run, None).await
}
