//! `shipit unlock`

use crate::cli::Cx;
use crate::ops::lock::unlock;
use crate::output::{Exit, Failure, Page};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn exec(cx: &Cx, _: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    cx.screen.show(&Page::of(match unlock(&session).await? {
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
