//! `shipit unlock`

use crate::cli::{Cx, print};
use crate::ops::lock::unlock;
use crate::output::{Exit, Failure};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn exec(cx: &Cx, _: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    print(&match unlock(&session).await? {
        Some(holder) => {
            format!(
                "The lock was taken from {}, who held it for `{}`.\n",
                holder.actor, holder.command
            )
        }
        None => format!("Nobody holds the lock of {}.\n", session.environment),
    });
    Ok(Exit::Done)
}
