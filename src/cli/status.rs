//! `shipit status`

use std::time::Duration;

use jiff::Timestamp;

use crate::cli::Cx;
use crate::cli::arguments::EnvironmentArg;
use crate::ops::Session;
use crate::ops::status::status;
use crate::output::{Exit, Failure, Format, Kind, status as view};

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit status --env production   once
  shipit status --watch            again each second
  shipit status --output json      for a program";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    /// Go on showing it, until Ctrl-C.
    #[arg(short, long)]
    watch: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let session = cx.session().await?;
    if !args.watch {
        return look(cx, args, &session).await;
    }

    // Whatever it does just then, it ends at the first Ctrl-C.
    let watching = async {
        loop {
            look(cx, args, &session).await?;
            if cx.screen.is_over() {
                return Ok(Exit::Done);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        failed = watching => failed,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}

/// Looks once, and shows it.
async fn look(cx: &Cx, args: &Args, session: &Session) -> Result<Exit, Failure> {
    let status = status(session).await?;
    let page = || view::human(&status, Timestamp::now());
    match (cx.format, args.watch) {
        (Format::Json, false) => cx.screen.document(Kind::Status, &status),
        (Format::Json, true) => cx.screen.document_line(Kind::Status, &status),
        (Format::Human, false) => cx.screen.show(&page()),
        (Format::Human, true) => cx.screen.show_anew(&page()),
        (Format::Markdown, _) => cx.screen.show(&page().fenced()),
    }
    Ok(Exit::Done)
}
