//! `shipit state`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::cli::arguments::{ApprovalArgs, LockArgs};
use crate::cli::{Cx, ask};
use crate::config::schema::StateConfig;
use crate::model::state::State;
use crate::ops::state::{self, Migrating, Migration, Removal};
use crate::ops::{Error, Session};
use crate::output::{Exit, Failure, Format, Kind, Page, state as view};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit state list                    what shipit holds in this environment
  shipit state show                    the history as it is recorded
  shipit state pull > state.json       the same, as the file that `push` takes
  shipit state push state.json         one that was pulled elsewhere
  shipit state rm release.3            forget a release
  shipit state migrate --from local    from the folder to where `state:` keeps it now
  shipit state restore                 the last good one
  shipit state accept                  the one that was edited";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List what shipit holds here: releases, slots, services, entry points, objects, resources.
    #[command(
        after_help = "Examples:\n  shipit state list --env staging\n  shipit state list --output \
                      json"
    )]
    List,
    /// Print the state.
    #[command(after_help = "Examples:\n  shipit state show --env staging")]
    Show,
    /// Print the state as the file that `state push` takes.
    #[command(after_help = "Examples:\n  shipit state pull --env staging > state.json")]
    Pull,
    /// Bring a state to where the configuration keeps it now.
    #[command(
        after_help = "Examples:\n  shipit state pull > state.json           before `state:` is \
                      changed\n  shipit state push state.json             after it was\n  shipit \
                      state push state.json --force     in place of one that is damaged"
    )]
    Push {
        /// What `state pull` has printed.
        file: PathBuf,

        /// Let a state go that is there, although the file does not have all of it, or although it
        /// cannot be read.
        #[arg(long)]
        force: bool,

        #[command(flatten)]
        lock: LockArgs,
    },
    /// Forget a release or an object, and leave it as it is.
    #[command(
        after_help = "Examples:\n  shipit state rm release.3\n  shipit state rm \
                      object.v1/ConfigMap/shop/settings --auto-approve"
    )]
    Rm {
        /// Its address, as `state list` prints it.
        address: String,

        #[command(flatten)]
        approval: ApprovalArgs,

        #[command(flatten)]
        lock: LockArgs,
    },
    /// Migrate the state from the store of before to the one that the configuration names now.
    #[command(
        after_help = "Examples:\n  shipit state migrate --from local                 from the \
                      folder `state`\n  shipit state migrate --from local:old             from \
                      another folder\n  shipit state migrate --from kubernetes:shop-home  from a \
                      cluster\n  shipit state migrate --from s3://shop/shipit           from a \
                      bucket"
    )]
    Migrate {
        /// Where it was: `local:FOLDER`, `kubernetes:NAMESPACE` or `s3://BUCKET/PREFIX`, behind
        /// which `?region=NAME&endpoint=URL&path_style=true` may stand. Without it the folder
        /// `state`, where one is there.
        #[arg(long, value_name = "PLACE")]
        from: Option<StateConfig>,

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
        What::List => {
            let held = state::list(&session).await?;
            match cx.format {
                Format::Json => cx.screen.document(Kind::StateList, &held),
                _ => cx.screen.show(&view::list(&held)),
            }
            return Ok(Exit::Done);
        }
        What::Show | What::Pull => {
            print(cx, &session).await?;
            return Ok(Exit::Done);
        }
        What::Push { file, force, lock } => {
            let how = state::Push {
                force: *force,
                lock_wait: lock.lock_timeout.get(),
            };
            state::push(&session, file, how).await?
        }
        What::Rm {
            address,
            approval,
            lock,
        } => {
            let removal = state::consider(&session, address).await?;
            approve(cx, &removal, approval)?;
            let state = state::remove(&session, &removal, lock.lock_timeout.get()).await?;
            forgotten(cx, &removal, &state);
            return Ok(Exit::Done);
        }
        What::Migrate { from, lock } => {
            let from = state::former(&session, from.clone()).await?;
            let moved = state::migrate(&session, &from, lock.lock_timeout.get()).await?;
            migrated(cx, &moved);
            return Ok(Exit::Done);
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

async fn print(cx: &Cx, session: &Session) -> Result<(), Error> {
    let (state, note) = state::show(session).await?;
    match cx.format {
        Format::Json => show(cx, &state, note.as_deref()),
        _ => cx
            .screen
            .json(serde_json::to_value(&state).unwrap_or_default()),
    }
    cx.screen.note(note.as_deref());
    Ok(())
}

fn show(cx: &Cx, state: &State, note: Option<&str>) {
    let document = json!({"state": state, "note": note});
    cx.screen.document(Kind::State, &document);
}

/// Asks whether something may be forgotten.
fn approve(cx: &Cx, removal: &Removal, approval: &ApprovalArgs) -> Result<(), Error> {
    let refused = |what: &str, help: &str| Error::NotApproved {
        what: what.to_owned(),
        help: help.to_owned(),
    };
    if approval.auto_approve {
        return Ok(());
    }
    cx.screen
        .say(&view::removal(&removal.about, &removal.follows));
    if !ask::is_possible() {
        return Err(refused(
            "nobody is here to approve it; nothing was forgotten",
            "give --auto-approve",
        ));
    }
    let question = "Type its address to have it forgotten";
    if ask::name(question, &removal.address) {
        return Ok(());
    }
    Err(refused(
        "nothing was forgotten",
        "run the command again when it may go",
    ))
}

fn forgotten(cx: &Cx, removal: &Removal, state: &State) {
    match cx.format {
        Format::Json => {
            let document = view::removed(&removal.address, &removal.follows, state.serial);
            cx.screen.document(Kind::StateRemoval, &document);
        }
        _ => cx.screen.show(&Page::of(format!(
            "{} is forgotten, and was left as it is. The state of {} is at serial {}.",
            removal.address, state.environment, state.serial
        ))),
    }
}

fn migrated(cx: &Cx, moved: &Migration) {
    if cx.format == Format::Json {
        cx.screen.document(Kind::StateMigration, moved);
        return;
    }
    let Migration {
        environment,
        from,
        to,
        ..
    } = moved;
    let mut page = Page::of(match moved.what {
        Migrating::Copied => format!(
            "The state of {environment} is in {to} now: serial {}, {}, {}, {}.",
            moved.serial,
            count(moved.releases, "release"),
            count(moved.journals, "journal"),
            count(moved.commands, "command"),
        ),
        Migrating::Marked => format!(
            "The state of {environment} was in {to} already, at serial {}.",
            moved.serial
        ),
        Migrating::Already => {
            format!("The state of {environment} is in {to} already: nothing was done.")
        }
    });
    if moved.what != Migrating::Already {
        page.line(format!(
            "What is left in {from} says so: who still names it is sent on."
        ));
    }
    cx.screen.show(&page);
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}
