//! `shipit apply`

use std::path::{Path, PathBuf};

use crate::cli::Cx;
use crate::cli::approve::{RunArgs, approve_and_run};
use crate::cli::arguments::FetchArgs;
use crate::files;
use crate::ops::plan::Request;
use crate::ops::plan_file::{self, PlanFile};
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit apply                                   show the plan, ask, carry it out
  shipit apply --auto-approve                    do not ask: for scripts and pipelines
  shipit apply p.json --auto-approve             the plan that `shipit plan --out p.json` wrote
  shipit apply --allow-data-loss StatefulSet/db  consent to a loss that the plan names";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A plan that was made with `shipit plan --out`; it is carried out as it is, or not at all. It
    /// does not stand for an approval: without a terminal --auto-approve is needed, too.
    #[arg(value_name = "PLANFILE")]
    plan: Option<PathBuf>,

    /// Build even what was built from the same inputs before.
    #[arg(long, conflicts_with = "plan")]
    rebuild: bool,

    #[command(flatten)]
    remote: FetchArgs,

    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let plan = args.plan.as_deref().map(read).transpose()?;
    let environment = plan.as_ref().map(|file| file.plan.environment.to_string());
    let cx = Cx {
        env: cx.env.clone().or(environment),
        ..cx.clone()
    };
    let mut session = cx.session().await?;
    session.fetch = args.remote.fetch;
    approve_and_run(
        &cx,
        &session,
        &Request::Apply {
            rebuild: args.rebuild,
        },
        &args.run,
        plan,
    )
    .await
}

fn read(path: &Path) -> Result<PlanFile, Failure> {
    files::outputs::name(path);
    let bytes = files::read(path, plan_file::LIMIT).map_err(|error| error.to_string());
    bytes
        .and_then(|bytes| PlanFile::read(&bytes))
        .map_err(|reason| {
            let help = "nothing was changed; make one with `shipit plan --out FILE`";
            let what = format!("the plan file {}: {reason}", path.display());
            Failure::say(Exit::Failed, what, help)
        })
}
