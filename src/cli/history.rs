//! `shipit history`

use crate::cli::Cx;
use crate::cli::arguments::FormArgs;
use crate::ops::history::history;
use crate::output::{Exit, Failure, Format, history as view};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    form: FormArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let releases = history(&cx.session().await?).await?;
    match args.form.output {
        Format::Json => cx.screen.document(&releases),
        Format::Human => cx.screen.show(&view::table(&releases)),
        Format::Markdown => cx.screen.show(&view::table(&releases).fenced()),
    }
    Ok(Exit::Done)
}
