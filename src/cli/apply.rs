//! `shipit apply`

use std::path::PathBuf;

use crate::cli::Cx;
use crate::cli::arguments::{FetchArgs, plan_file};
use crate::cli::consent::{RunArgs, with_options};
use crate::cli::reports::{ReportArgs, Reporter};
use crate::ops::apply::run;
use crate::ops::plan::Request;
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit apply                                   show the plan, ask, carry it out
  shipit apply --auto-approve                    do not ask: for scripts and pipelines
  shipit apply p.json --auto-approve             the plan that `shipit plan --out p.json` wrote
  shipit apply p.json                            the same, where those have signed it who must
  shipit apply --allow-data-loss StatefulSet/db  consent to a loss that the plan names";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A plan that was made with `shipit plan --out`; it is carried out as it is, or not at all. It
    /// does not stand for an approval: without a terminal --auto-approve is needed, too, unless it
    /// has the signatures that its environment wants (`shipit approve`).
    #[arg(value_name = "PLANFILE")]
    plan: Option<PathBuf>,

    /// Build even what was built from the same inputs before.
    #[arg(long, conflicts_with = "plan")]
    rebuild: bool,

    #[command(flatten)]
    remote: FetchArgs,

    #[command(flatten)]
    run: RunArgs,

    #[command(flatten)]
    reports: ReportArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let reporter = Reporter::new(&args.reports, "shipit apply");
    let ended = applied(cx, args, &reporter).await;
    reporter.finish(cx, &args.reports, ended)
}

async fn applied(cx: &Cx, args: &Args, reporter: &Reporter) -> Result<Exit, Failure> {
    let plan = args.plan.as_deref().map(plan_file).transpose()?;
    let environment = plan.as_ref().map(|file| file.plan.environment.to_string());
    let cx = Cx {
        env: cx.env.clone().or(environment),
        ..cx.clone()
    };
    let mut session = cx.session().await?;
    session.fetch = args.remote.fetch;
    let request = Request::Apply {
        rebuild: args.rebuild,
    };
    let call = async |options| run(&session, &request, options).await;
    with_options(&cx, &args.run, plan, reporter, call).await
}
