//! `shipit notify`

use std::sync::Arc;

use serde_json::json;

use crate::cli::arguments::{EnvironmentArg, LockArgs};
use crate::cli::{Cx, signals};
use crate::model::NotifyName;
use crate::model::event::Event;
use crate::model::name::NameError;
use crate::model::notice::DeliveryStatus;
use crate::ops::notify::{Kept, Tested, deliver, test};
use crate::output::events::View;
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit notify --test --env production          send a test to all who are told
  shipit notify --test team --env production     send it to one of them
  shipit notify --env production                 deliver what could not be delivered before";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    /// Send a test to the notification of this name, or to all without one. Nothing of it is kept.
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        default_missing_value = "",
        value_parser = tested_ones
    )]
    test: Option<TestedOnes>,

    #[command(flatten)]
    lock: LockArgs,
}

/// Who is sent a test.
#[derive(Debug, Clone)]
enum TestedOnes {
    All,
    One(NotifyName),
}

fn tested_ones(text: &str) -> Result<TestedOnes, String> {
    if text.is_empty() {
        return Ok(TestedOnes::All);
    }
    let name = text.parse().map_err(|error: NameError| error.to_string())?;
    Ok(TestedOnes::One(name))
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let session = cx.session().await?;
    if let Some(ones) = &args.test {
        let name = match ones {
            TestedOnes::All => None,
            TestedOnes::One(name) => Some(name),
        };
        let tested = test(&session, name).await?;
        if cx.format == Format::Json {
            cx.screen
                .document(Kind::Notified, &json!({"tested": tested}));
        } else {
            cx.screen.show(&tests(&tested));
        }
        let has_failed = tested.iter().any(|it| it.reason.is_some());
        return Ok(if has_failed { Exit::Failed } else { Exit::Done });
    }

    let signals = signals::listen(&cx.screen);
    // Notes are for people; a program reads the one document.
    let view = Arc::new(View::new(Format::Human, cx.screen.clone()));
    let sink = Arc::new(move |event: Event| view.show(&event));
    let wait = args.lock.lock_timeout.get();
    let kept = deliver(&session, wait, sink, &signals.interrupted).await?;
    if cx.format == Format::Json {
        cx.screen.document(Kind::Notified, &json!({"kept": kept}));
    } else {
        cx.screen.show(&list(&kept));
    }
    let is_waiting = kept.iter().any(|it| it.status == DeliveryStatus::Waiting);
    Ok(if is_waiting { Exit::Failed } else { Exit::Done })
}

fn tests(tested: &[Tested]) -> Page {
    let mut page = Page::default();
    for it in tested {
        match (&it.reason, &it.help) {
            (None, _) => page.line(format!("{}: delivered", it.name)),
            (Some(reason), help) => {
                page.line(format!("{}: not delivered: {reason}", it.name));
                if let Some(help) = help.as_ref().filter(|help| !help.is_empty()) {
                    page.line(format!("  {help}"));
                }
            }
        }
    }
    page
}

fn list(kept: &[Kept]) -> Page {
    if kept.is_empty() {
        return Page::of("Nothing waits.");
    }
    let row = |it: &Kept| {
        let status = match it.status {
            DeliveryStatus::Waiting => "waiting",
            DeliveryStatus::Sent => "sent",
            DeliveryStatus::GivenUp => "given up",
        };
        let reason = it.reason.clone().unwrap_or_default();
        [
            format!("{:.0}", it.at),
            it.name.to_string(),
            status.to_owned(),
            it.title.clone(),
            reason,
        ]
    };
    let header = ["AT", "NAME", "STATUS", "WHAT", "REASON"];
    Page::table(header, kept.iter().map(row).collect())
}
