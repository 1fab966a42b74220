//! `shipit restart`

use crate::cli::arguments::{ApprovalArgs, LockArgs};
use crate::cli::{Cx, ask, signals};
use crate::model::{ServiceName, Slot};
use crate::ops::Error;
use crate::ops::restart::{Asked, Options, Restarted, restart};
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit restart                   every service of the live release
  shipit restart web               one of them
  shipit restart web --slot green  what waits in green";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The service; without it all of them, one after the other.
    service: Option<ServiceName>,

    /// The slot; without it the one with live traffic.
    #[arg(long)]
    slot: Option<Slot>,

    #[command(flatten)]
    approval: ApprovalArgs,

    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let signals = signals::listen(&cx.screen);
    let asked = Asked {
        slot: args.slot,
        service: args.service.clone(),
    };
    let (screen, auto_approve) = (cx.screen.clone(), args.approval.auto_approve);
    let approve = |restarted: &Restarted| approve(restarted, auto_approve);
    let progress = |line: &str| screen.say(&Page::of(line));
    let options = Options {
        lock_wait: args.lock.lock_timeout.get(),
        approve: &approve,
        progress: &progress,
        interrupted: signals.interrupted,
        killed: signals.killed,
    };

    let restarted = restart(&session, asked, options).await?;
    if cx.format == Format::Json {
        cx.screen.document(Kind::Restart, &restarted);
    } else {
        let words = format!("Restarted in {}: {}.", restarted.slot, services(&restarted));
        cx.screen.show(&Page::of(words));
    }
    Ok(Exit::Done)
}

fn services(restarted: &Restarted) -> String {
    let names: Vec<&str> = restarted.services.iter().map(ServiceName::as_str).collect();
    names.join(", ")
}

fn approve(restarted: &Restarted, auto_approve: bool) -> Result<(), Error> {
    if auto_approve {
        return Ok(());
    }
    let role = if restarted.live { "live" } else { "not live" };
    let Restarted { slot, release, .. } = restarted;
    let what = format!(
        "Restart {} of release {release} in {slot} ({role})?",
        services(restarted)
    );
    if !ask::is_possible() {
        return Err(Error::NotApproved {
            what: "nobody is here to approve the restart; nothing was changed".to_owned(),
            help: "give --auto-approve".to_owned(),
        });
    }
    if ask::yes(&what) {
        return Ok(());
    }
    Err(Error::NotApproved {
        what: "the restart was not approved; nothing was changed".to_owned(),
        help: "run the command again when it is".to_owned(),
    })
}
