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
    let history = history(&cx.session().await?).await?;
    let page = view::page(&history);
    match args.form.output {
        // The document is a list, which has no place for a note.
        Format::Json => {
            cx.screen.document(&history.releases);
            cx.screen.note(history.note.as_deref());
        }
        Format::Human => cx.screen.show(&page),
        Format::Markdown => cx.screen.show(&page.fenced()),
    }
    Ok(Exit::Done)
}
