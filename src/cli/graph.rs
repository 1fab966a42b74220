//! `shipit graph`

use crate::cli::Cx;
use crate::cli::arguments::EnvironmentArg;
use crate::ops::plan::{Request, make_plan};
use crate::output::{Exit, Failure, Format, Kind, graph};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit graph > plan.dot      for Graphviz: `dot -Tsvg plan.dot`
  shipit graph --output json   for a program";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let session = cx.session().await?;
    let made = make_plan(&session, &Request::Apply { rebuild: false }).await?;
    match cx.format {
        Format::Json => cx.screen.document(Kind::Graph, &graph::document(&made)),
        _ => cx.screen.show(&graph::dot(&made)),
    }
    Ok(Exit::Done)
}
