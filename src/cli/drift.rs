//! `shipit drift`

use crate::cli::Cx;
use crate::cli::arguments::EnvironmentArg;
use crate::ops::Session;
use crate::ops::drift::drift;
use crate::output::{Exit, Failure, Format, Kind, drift as view};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit drift production          who moved what since shipit acted: exit 0 nothing, 2 something
  shipit drift --output json       for a program
  shipit drift --output markdown   for a comment or a ticket";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = cx.of(&args.environment)?;
    let has_moved = look(&cx, &cx.session().await?).await?;
    Ok(if has_moved { Exit::Changes } else { Exit::Done })
}

/// Shows what moved. Whether anything did.
pub(super) async fn look(cx: &Cx, session: &Session) -> Result<bool, Failure> {
    let report = drift(session).await?;
    match cx.format {
        Format::Json => cx.screen.document(Kind::Drift, &report),
        Format::Human => cx.screen.show(&view::human(&report)),
        Format::Markdown => cx.screen.show(&view::markdown(&report)),
    }
    Ok(report.has_moved())
}
