//! `shipit settle`

use jiff::Timestamp;

use crate::cli::arguments::{EnvironmentArg, LockArgs};
use crate::cli::consent::{RunArgs, approve_and_run};
use crate::cli::{Cx, signals};
use crate::model::Period;
use crate::ops::plan::Request;
use crate::ops::settle::{Options, Pending, Settled, TasksDue, settle, tasks_due};
use crate::output::page::Line;
use crate::output::status::ago;
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit settle --env production             what has come due, by a schedule
  shipit settle --env production --wait 15m  behind `apply`: until the old release is stopped";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    /// Wait for what comes due within this time, as `15m`.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    wait: Period,

    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let session = cx.session().await?;
    let signals = signals::listen(&cx.screen);
    let screen = cx.screen.clone();
    let waiting = |next: &Pending| screen.say(&Page::of(later(next)));
    let options = Options {
        lock_wait: args.lock.lock_timeout.get(),
        wait: args.wait.get(),
        waiting: &waiting,
        interrupted: signals.interrupted.clone(),
    };

    let settled = settle(&session, options).await?;
    let tasks = tasks_due(&session, &signals.interrupted).await?;
    if cx.format == Format::Json {
        cx.screen.document(Kind::Settled, &settled);
    } else {
        cx.screen.show(&page(&settled, &tasks));
    }
    if !tasks.is_any {
        return Ok(Exit::Done);
    }

    // Whoever settles has said so: nobody is asked.
    let run = RunArgs::in_advance(args.lock.clone());
    approve_and_run(cx, &session, &Request::Settle, &run, None).await
}

fn page(settled: &Settled, tasks: &TasksDue) -> Page {
    let mut lines = settled.done.clone();
    if lines.is_empty() && !tasks.is_any {
        lines.push("Nothing is due.".to_owned());
    }
    lines.extend(settled.pending.iter().map(later));
    let lines = lines.into_iter().map(Line::from);
    // What is carried out says its own.
    let notes = tasks.notes.iter().filter(|_| !tasks.is_any);
    lines.chain(notes.map(Line::note)).collect()
}

fn later(next: &Pending) -> String {
    let Pending {
        slot,
        release,
        stops_at,
    } = next;
    let within = ago(Timestamp::now(), *stops_at);
    format!("release {release} in {slot} is retained, and stops in {within}")
}
