//! `shipit promote blue|green` and `shipit promote ENVIRONMENT --to ENVIRONMENT`

use crate::cli::Cx;
use crate::cli::arguments::{FetchArgs, SavedArgs};
use crate::cli::consent::{RunArgs, save_or_run};
use crate::model::{EnvironmentName, Slot};
use crate::ops::plan::Request;
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit promote                          give live traffic to the release that waits for it
  shipit promote green                    give live traffic to the release in green
  shipit promote staging --to production  deploy staging's live release in production, same images
  shipit promote green --out p.json       save the plan, for approvals
  shipit promote green --plan p.json      carry it out";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The slot that gets live traffic; without it the one whose release waits. With --to, the
    /// environment whose live release is promoted.
    #[arg(value_name = "SLOT|ENVIRONMENT")]
    what: Option<String>,

    /// The environment that gets the release, with the same images.
    #[arg(long, value_name = "ENVIRONMENT", requires = "what")]
    to: Option<String>,

    #[command(flatten)]
    saved: SavedArgs,

    #[command(flatten)]
    remote: FetchArgs,

    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let usage = |what: String, help: &str| Failure::say(Exit::Usage, what, help);
    let (cx, wanted) = match (&args.what, &args.to) {
        (None, _) => (cx.clone(), Request::Promote(None)),
        (Some(slot), None) => {
            let slot: Slot = slot
                .parse()
                .map_err(|error: crate::model::slot::SlotError| {
                    usage(
                        error.to_string(),
                        "an environment is promoted with --to: `shipit promote staging --to \
                     production`",
                    )
                })?;
            (cx.clone(), Request::Promote(Some(slot)))
        }
        (Some(from), Some(to)) => {
            let from: EnvironmentName =
                from.parse()
                    .map_err(|error: crate::model::name::NameError| {
                        usage(error.to_string(), "name an environment")
                    })?;
            (cx.named(to)?, Request::PromoteFrom(from))
        }
    };

    save_or_run(&cx, &wanted, &args.run, (&args.saved, &args.remote)).await
}
