//! `shipit destroy`

use crate::cli::Cx;
use crate::cli::arguments::{EnvironmentArg, FetchArgs, SavedArgs};
use crate::cli::consent::{RunArgs, save_or_run};
use crate::ops::plan::{Extent, Request};
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit destroy --env staging                                 show the plan, ask for the name
  shipit destroy --env staging --auto-approve                  do not ask: for scripts
  shipit destroy --allow-data-loss PersistentVolumeClaim/data  consent to a loss
  shipit destroy --infrastructure                              with repositories and the like
  shipit destroy --env staging --out p.json                    save the plan, for approvals
  shipit destroy --plan p.json                                 carry it out";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    /// Delete also what was made for the environment at its provider, once the environment is gone:
    /// repositories with their images, Fargate profiles, groups of machines, addons. What another
    /// environment uses, and what shipit has not made, stays and is named.
    #[arg(long)]
    infrastructure: bool,

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
    let extent = if args.infrastructure {
        Extent::Infrastructure
    } else {
        Extent::Environment
    };
    save_or_run(cx, &Request::Destroy(extent), &args.run, saved).await
}
