//! `shipit show`

use std::path::PathBuf;

use crate::cli::arguments::plan_file;
use crate::cli::{Cx, plan};
use crate::ops::show::show;
use crate::output::{Exit, Failure};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit show p.json                    the plan that `shipit plan --out p.json` wrote
  shipit show p.json --output markdown  for a comment on a change request";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A plan that was made with `shipit plan --out`. It is shown and never carried out.
    #[arg(value_name = "PLANFILE")]
    plan: PathBuf,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let file = plan_file(&args.plan)?;
    let environment = file.plan.environment.to_string();
    let cx = Cx {
        env: cx.env.clone().or(Some(environment)),
        ..cx.clone()
    };
    let session = cx.session().await?;

    let shown = show(&session, &file).await?;
    plan::show(&cx, &file.plan, &shown.verdicts);
    cx.screen.note(shown.stale.as_deref());
    Ok(Exit::Done)
}
