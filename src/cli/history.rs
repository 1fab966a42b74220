//! `shipit history`

use crate::cli::Cx;
use crate::cli::arguments::EnvironmentArg;
use crate::ops::history::history;
use crate::output::{Exit, Failure, Format, Kind, history as view};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit history --env production   newest first
  shipit history --output json      for a program";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let history = history(&cx.session().await?).await?;
    let page = view::page(&history);
    match cx.format {
        Format::Json => cx.screen.document(Kind::History, &history),
        Format::Human => cx.screen.show(&page),
        Format::Markdown => cx.screen.show(&page.fenced()),
    }
    Ok(Exit::Done)
}
