//! `shipit trigger`

use tokio::time::Instant;

use super::ServerArg;
use super::client::Client;
use super::follow::{Followed, Go, Listener, follow};
use crate::cli::Cx;
use crate::jobs::exit_code;
use crate::model::job::{JobEnding, JobNumber};
use crate::model::{Period, ProjectName};
use crate::ops::doors::intake::{Command, Taken};
use crate::output::{Exit, Failure, Format, Kind, Line, Page, Screen};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit trigger storefront --env staging               deploy what its branch has, and watch
  shipit trigger storefront --env staging --detach      do not wait for it
  shipit trigger storefront --env production --ref refs/tags/v1.2  a tag
  shipit trigger storefront --server https://ship.example.com --identity jenkins/  from elsewhere";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The project.
    project: ProjectName,

    /// The branch, or the full name of a branch or tag; without it the branch that the environment
    /// is deployed on.
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    server: ServerArg,
}

/// Whether a command waits for the job's end.
#[derive(Debug, Clone, clap::Args)]
pub struct WaitArgs {
    /// How long to watch the job; it goes on without.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub wait: Period,

    /// Do not watch it.
    #[arg(long, conflicts_with = "wait")]
    pub detach: bool,
}

impl WaitArgs {
    pub(super) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.wait.get())
    }
}

pub(in crate::cli) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let environment = cx.env.as_deref().map(str::parse).transpose();
    let command = Command {
        project: args.project.clone(),
        environment: environment.map_err(|error: crate::model::name::NameError| {
            Failure::say(Exit::Usage, error.to_string(), "write --env staging")
        })?,
        reference: args.reference.clone(),
    };
    let client = args.server.client().await?;
    let taken: Taken = client
        .trigger(&command)
        .await
        .map_err(|error| client.failure(&error))?;
    watch(cx, &client, &taken, &args.wait).await
}

/// Says which jobs do it, and follows them to their ends.
pub(super) async fn watch(
    cx: &Cx,
    client: &Client,
    taken: &Taken,
    wait: &WaitArgs,
) -> Result<Exit, Failure> {
    if cx.format == Format::Json {
        cx.screen.document_line(Kind::Delivery, taken);
    }
    let mut exit = Exit::Done;
    for job in &taken.jobs {
        let words = if job.is_new { "is job" } else { "is in job" };
        cx.screen
            .say(&Page::of(format!("{} {words} {}", job.lane, job.number)));
        if wait.detach {
            continue;
        }
        let ended = watch_one(cx, client, job.number, wait).await?;
        // The first that did not go well is the whole's.
        exit = if exit == Exit::Done { ended } else { exit };
    }
    Ok(exit)
}

/// Follows a job to its end.
pub(super) async fn watch_one(
    cx: &Cx,
    client: &Client,
    number: JobNumber,
    wait: &WaitArgs,
) -> Result<Exit, Failure> {
    let mut shown = Shown {
        screen: cx.screen.clone(),
        format: cx.format,
        last: String::new(),
    };
    let followed = follow(client, number, wait.deadline(), &mut shown).await;
    let followed = followed.map_err(|error| client.failure(&error))?;
    if let Some(Followed::Ended(ending)) = followed {
        return Ok(told(&cx.screen, number, &ending));
    }
    cx.screen.say(&Page::of(format!(
        "job {number} goes on: `shipit jobs wait {number}` waits for it"
    )));
    Ok(Exit::Failed)
}

/// Says how a job ended: the exit code of `apply`.
pub(super) fn told(screen: &Screen, number: JobNumber, ending: &JobEnding) -> Exit {
    let reason = ending.reason();
    let colon = if reason.is_empty() { "" } else { ": " };
    screen.say(&Page::of(
        Line::from(format!("job {number} {}{colon}", ending.word())).quote(reason),
    ));
    Exit::Command(exit_code(ending))
}

struct Shown {
    screen: Screen,
    format: Format,
    last: String,
}

impl Listener for Shown {
    fn lines(&mut self, lines: &[String]) -> Go {
        for line in lines {
            if self.format == Format::Json {
                self.screen
                    .document_line(Kind::Log, &serde_json::json!({"text": line}));
            } else {
                self.screen.say(&Page::of(Line::new().quote(line)));
            }
        }
        Go::On
    }

    fn waits(&mut self, words: &str) -> Go {
        if self.last != words {
            self.screen.say(&Page::of(format!("it waits {words}")));
            words.clone_into(&mut self.last);
        }
        Go::On
    }
}
