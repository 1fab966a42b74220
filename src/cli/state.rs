//! `shipit state`

use clap::Subcommand;

use crate::cli::Cx;
use crate::ops::state;
use crate::output::{Exit, Failure, Page};

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
    /// Restore the last good state in place of a damaged one.
    Restore,
    /// Accept a state that was edited by hand.
    Accept,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let state = match args.command {
        What::Show => {
            let (state, note) = state::show(&session).await?;
            cx.screen.document(&state);
            cx.screen.note(note.as_deref());
            return Ok(Exit::Done);
        }
        What::Restore => state::restore(&session).await?,
        What::Accept => state::accept(&session).await?,
    };

    cx.screen.show(&Page::of(format!(
        "The state of {} is at serial {} now.",
        state.environment, state.serial
    )));
    Ok(Exit::Done)
}
