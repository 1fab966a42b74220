//! `shipit state`

use clap::Subcommand;

use crate::cli::{Cx, print};
use crate::ops::state;
use crate::output::{Exit, Failure};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the state.
    Show,
    /// Go back to the state before a damaged one.
    Restore,
    /// Take a hand-edited state as it is.
    Accept,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let state = match args.command {
        What::Show => state::show(&session).await?,
        What::Restore => state::restore(&session).await?,
        What::Accept => state::accept(&session).await?,
    };
    match args.command {
        What::Show => print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&state).unwrap_or_default()
        )),
        _ => print(&format!(
            "The state of {} is at serial {} now.\n",
            state.environment, state.serial
        )),
    }
    Ok(Exit::Done)
}
