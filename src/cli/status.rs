//! `shipit status`

use std::time::Duration;

use jiff::Timestamp;

use crate::cli::Cx;
use crate::cli::arguments::FormArgs;
use crate::ops::status::status;
use crate::output::{Exit, Failure, Format, status as view};

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on showing it, until Ctrl-C.
    #[arg(short, long)]
    watch: bool,

    #[command(flatten)]
    form: FormArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    loop {
        let status = status(&session).await?;
        let page = || view::human(&status, Timestamp::now());
        match (args.form.output, args.watch) {
            (Format::Json, _) => cx.screen.document(&status),
            (Format::Human, false) => cx.screen.show(&page()),
            (Format::Human, true) => cx.screen.show_anew(&page()),
            (Format::Markdown, _) => cx.screen.show(&page().fenced()),
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
    }
}
