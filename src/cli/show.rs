//! `shipit show`

use std::path::PathBuf;

use crate::cli::Cx;
use crate::cli::arguments::plan_file;
use crate::ops::show::show;
use crate::output::{Exit, Failure, Format, Kind, plan};

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

    let stale = show(&session, &file).await?;
    match cx.format {
        Format::Human => cx.screen.show(&plan::human(&file.plan)),
        Format::Json => cx.screen.document(Kind::Plan, &file.plan),
        Format::Markdown => cx.screen.show(&plan::markdown(&file.plan)),
    }
    cx.screen.note(stale.as_deref());
    Ok(Exit::Done)
}
