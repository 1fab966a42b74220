//! `shipit diff`

use crate::cli::Cx;
use crate::ops::diff::diff;
use crate::output::{Exit, Failure, Page};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Exit with 2 when there are differences.
    #[arg(long)]
    detailed_exitcode: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let text = diff(&cx.session().await?).await?;
    cx.screen.show(&Page::document(&text));
    Ok(if args.detailed_exitcode && !text.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}
