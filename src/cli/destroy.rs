//! `shipit destroy`

use crate::cli::Cx;
use crate::cli::arguments::{EnvironmentArg, FetchArgs, SavedArgs};
use crate::cli::consent::{RunArgs, save_or_run};
use crate::ops::plan::Request;
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit destroy --env staging                                 show the plan, ask for the name
  shipit destroy --env staging --auto-approve                  do not ask: for scripts
  shipit destroy --allow-data-loss PersistentVolumeClaim/data  consent to a loss
  shipit destroy --env staging --out p.json                    save the plan, for approvals
  shipit destroy --plan p.json                                 carry it out";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    #[command(flatten)]
    saved: SavedArgs,

    #[command(flatten)]
    remote: FetchArgs,

    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let saved = (&args.saved, &args.remote);
    save_or_run(cx, &Request::Destroy, &args.run, saved).await
}
