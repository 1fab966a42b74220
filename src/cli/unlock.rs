//! `shipit unlock`

use serde_json::json;

use crate::cli::arguments::{ApprovalArgs, EnvironmentArg};
use crate::cli::{Cx, ask};
use crate::ops::Error;
use crate::ops::lock::unlock;
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit unlock --env staging         ask for the environment's name first
  shipit unlock --env staging --yes   do not ask";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    #[command(flatten)]
    approval: ApprovalArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let session = cx.session().await?;
    let environment = session.environment.as_str();
    let question = format!(
        "The run that holds the lock of {environment} is stopped at its next step. Type \
         {environment} to take it"
    );
    if ask::is_possible() && !args.approval.auto_approve && !ask::name(&question, environment) {
        let refused = Error::NotApproved {
            what: "the lock was not taken".to_owned(),
            help: "`shipit status` shows who holds it".to_owned(),
        };
        return Err(refused.into());
    }

    let taken = unlock(&session).await?;
    if cx.format == Format::Json {
        cx.screen
            .document(Kind::Lock, &json!({"taken_from": taken}));
        return Ok(Exit::Done);
    }
    cx.screen.show(&Page::of(match taken {
        Some(holder) => {
            format!(
                "The lock was taken from {}, who held it for `{}`.",
                holder.actor, holder.command
            )
        }
        None => format!("Nobody holds the lock of {}.", session.environment),
    }));
    Ok(Exit::Done)
}
