//! `shipit images`

use crate::cli::arguments::{EnvironmentArg, LockArgs};
use crate::cli::{Cx, ask};
use crate::model::garbage::{Collect, Collected};
use crate::ops::Error;
use crate::ops::images::garbage;
use crate::output::{Exit, Failure, Format, Kind, garbage as view};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit images                           list them
  shipit images --collect                 list them, ask, delete them
  shipit images --collect --auto-approve  delete them without asking";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    /// Delete them.
    #[arg(long)]
    collect: bool,

    /// Do not ask.
    #[arg(
        short = 'y',
        long,
        visible_alias = "yes",
        requires = "collect",
        help_heading = "Approval"
    )]
    auto_approve: bool,

    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let (session, wait) = (cx.session().await?, args.lock.lock_timeout.get());
    let found = garbage(&session, Collect::Report, wait).await?;
    let is_empty = found.images.is_empty() && found.blobs == 0;
    if !args.collect || is_empty || found.refused.is_some() {
        show(cx, &found, Collect::Report);
        return Ok(Exit::Done);
    }

    if !args.auto_approve {
        if cx.format != Format::Json {
            show(cx, &found, Collect::Report);
        }
        ask()?;
    }

    let taken = garbage(&session, Collect::Delete, wait).await?;
    show(cx, &taken, Collect::Delete);
    Ok(if taken.refused.is_some() {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn show(cx: &Cx, found: &Collected, how: Collect) {
    match cx.format {
        Format::Json => cx.screen.document(Kind::Images, found),
        Format::Human => cx.screen.show(&view::table(found, how)),
        Format::Markdown => cx.screen.show(&view::table(found, how).fenced()),
    }
}

fn ask() -> Result<(), Error> {
    let refused = |what: &str, help: &str| Error::NotApproved {
        what: what.to_owned(),
        help: help.to_owned(),
    };
    if !ask::is_possible() {
        return Err(refused(
            "nobody is here to approve it; nothing was deleted",
            "give --auto-approve",
        ));
    }
    if ask::yes("Delete these images?") {
        return Ok(());
    }
    Err(refused(
        "nothing was deleted",
        "run the command again when they may go",
    ))
}
