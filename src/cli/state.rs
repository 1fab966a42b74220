//! `shipit state`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::cli::Cx;
use crate::cli::arguments::LockArgs;
use crate::model::state::State;
use crate::ops::state;
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit state show              as it is
  shipit state push state.json   one that was shown elsewhere: into a bucket, from a folder
  shipit state restore           the last good one
  shipit state accept            the one that was edited";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the state.
    #[command(after_help = "Examples:\n  shipit state show --env staging")]
    Show,
    /// Bring a state to where the configuration keeps it now.
    #[command(
        after_help = "Examples:\n  shipit state show > state.json   before `state:` is changed\n  shipit state push state.json     after it was"
    )]
    Push {
        /// What `state show` has printed.
        file: PathBuf,

        /// Let a state go that is there, although the file does not have all of it.
        #[arg(long)]
        force: bool,

        #[command(flatten)]
        lock: LockArgs,
    },
    /// Restore the last good state in place of a damaged one.
    #[command(after_help = "Examples:\n  shipit state restore --env staging")]
    Restore,
    /// Accept a state that was edited by hand.
    #[command(after_help = "Examples:\n  shipit state accept --env staging")]
    Accept,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let state = match &args.command {
        What::Show => {
            let (state, note) = state::show(&session).await?;
            match cx.format {
                Format::Json => show(cx, &state, note.as_deref()),
                _ => cx
                    .screen
                    .json(serde_json::to_value(&state).unwrap_or_default()),
            }
            cx.screen.note(note.as_deref());
            return Ok(Exit::Done);
        }
        What::Push { file, force, lock } => {
            let how = state::Push {
                force: *force,
                lock_wait: lock.lock_timeout.get(),
            };
            state::push(&session, file, how).await?
        }
        What::Restore => state::restore(&session).await?,
        What::Accept => state::accept(&session).await?,
    };

    match cx.format {
        Format::Json => show(cx, &state, None),
        _ => cx.screen.show(&Page::of(format!(
            "The state of {} is at serial {} now.",
            state.environment, state.serial
        ))),
    }
    Ok(Exit::Done)
}

fn show(cx: &Cx, state: &State, note: Option<&str>) {
    let document = json!({"state": state, "note": note});
    cx.screen.document(Kind::State, &document);
}
