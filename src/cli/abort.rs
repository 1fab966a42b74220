//! `shipit abort`

use serde_json::json;

use crate::cli::Cx;
use crate::cli::arguments::EnvironmentArg;
use crate::cli::consent::{RunArgs, with_options};
use crate::cli::reports::Reporter;
use crate::ops::abort::ask_holder;
use crate::ops::apply::run;
use crate::ops::plan::Request;
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit abort --env staging                  stop the run, or give up the release that waits
  shipit abort --env staging --auto-approve   do not ask";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let session = cx.session().await?;
    if let Some(holder) = ask_holder(&session).await? {
        match cx.format {
            Format::Json => cx.screen.document(Kind::Abort, &json!({"asked": holder})),
            _ => cx.screen.show(&Page::of(format!(
                "Asked {} to stop its `{}`; it stops as if by Ctrl-C.",
                holder.actor, holder.command
            ))),
        }
        return Ok(Exit::Done);
    }
    with_options(cx, &args.run, None, &Reporter::default(), async |options| {
        run(&session, &Request::Abort, options).await
    })
    .await
}
