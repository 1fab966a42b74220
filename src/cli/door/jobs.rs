//! `shipit jobs`

use clap::Subcommand;

use super::ServerArg;
use super::client::Client;
use super::trigger::{WaitArgs, told, watch, watch_one};
use crate::cli::Cx;
use crate::model::Period;
use crate::model::job::{JobNumber, JobState};
use crate::ops::doors::jobs::{JobView, Patience};
use crate::output::{Exit, Failure, Format, Kind, Line, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit jobs list            what waits, runs and has ended
  shipit jobs logs 41 -f      what job 41 says, until it ends
  shipit jobs cancel 41       stop it cleanly
  shipit jobs retry 41        do it again";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: What,

    #[command(flatten)]
    server: ServerArg,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the newest jobs.
    #[command(after_help = "Examples:\n  shipit jobs list -n 50")]
    List {
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20)]
        last: usize,
    },
    /// Show a job.
    #[command(after_help = "Examples:\n  shipit jobs show 41")]
    Show {
        /// Its number.
        number: JobNumber,
    },
    /// Show what a job says.
    #[command(after_help = "Examples:\n  shipit jobs logs 41 --follow")]
    Logs {
        /// Its number.
        number: JobNumber,

        /// Go on until it ends.
        #[arg(short, long)]
        follow: bool,
    },
    /// Stop a job: one that waits is over, one that runs stops cleanly.
    #[command(after_help = "Examples:\n  shipit jobs cancel 41")]
    Cancel {
        /// Its number.
        number: JobNumber,
    },
    /// Do a job again that is over, as a new one.
    #[command(after_help = "Examples:\n  shipit jobs retry 41 --detach")]
    Retry {
        /// Its number.
        number: JobNumber,

        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Wait until a job is over; it exits as `apply` would.
    #[command(after_help = "Examples:\n  shipit jobs wait 41 --within 10m")]
    Wait {
        /// Its number.
        number: JobNumber,

        /// How long.
        #[arg(long, value_name = "DURATION", default_value = "1h")]
        within: Period,
    },
}

pub(in crate::cli) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let client = args.server.client().await?;
    match &args.command {
        What::List { last } => list(cx, &client, *last).await,
        What::Show { number } => {
            let view = client
                .show(*number)
                .await
                .map_err(|error| client.failure(&error))?;
            show(cx, &view);
            Ok(Exit::Done)
        }
        What::Logs { number, follow } => logs(cx, &client, *number, *follow).await,
        What::Cancel { number } => {
            let job = client
                .cancel(*number)
                .await
                .map_err(|error| client.failure(&error))?;
            show(
                cx,
                &JobView {
                    job,
                    waits_for: None,
                },
            );
            Ok(Exit::Done)
        }
        What::Retry { number, wait } => {
            let taken = client
                .retry(*number)
                .await
                .map_err(|error| client.failure(&error))?;
            watch(cx, &client, &taken, wait).await
        }
        What::Wait { number, within } => {
            let wait = WaitArgs {
                wait: *within,
                detach: false,
            };
            watch_one(cx, &client, *number, &wait).await
        }
    }
}

async fn list(cx: &Cx, client: &Client, last: usize) -> Result<Exit, Failure> {
    let jobs = client
        .list(last)
        .await
        .map_err(|error| client.failure(&error))?;
    if cx.format == Format::Json {
        cx.screen.document(Kind::Jobs, &jobs);
    } else {
        cx.screen.show(&page(&jobs));
    }
    Ok(Exit::Done)
}

/// The jobs as a table.
fn page(jobs: &[JobView]) -> Page {
    if jobs.is_empty() {
        return Page::of("There are no jobs.");
    }
    let row = |view: &JobView| {
        let job = &view.job;
        let request = &job.request;
        [
            job.number.to_string(),
            request.lane.to_string(),
            request.kind.word().to_owned(),
            request
                .reference
                .trim_start_matches("refs/heads/")
                .to_owned(),
            request
                .commit
                .as_deref()
                .map_or("", |commit| &commit[..7.min(commit.len())])
                .to_owned(),
            stands(view),
            request.by.to_string(),
        ]
    };
    let rows = jobs.iter().map(row).collect();
    Page::table(
        [
            "job",
            "environment",
            "does",
            "ref",
            "commit",
            "stands",
            "asked for by",
        ],
        rows,
    )
}

/// How a job stands, in a line.
fn stands(view: &JobView) -> String {
    let word = view.job.word();
    let more = match &view.job.state {
        JobState::Ended { ending, .. } => ending.reason(),
        JobState::Running {
            cancelled_by: Some(by),
            ..
        } => format!("{by} asked it to stop"),
        _ => view.waits_for.clone().unwrap_or_default(),
    };
    if more.is_empty() {
        return word.to_owned();
    }
    let short: String = more.chars().take(60).collect();
    format!("{word}: {short}")
}

fn show(cx: &Cx, view: &JobView) {
    if cx.format == Format::Json {
        return cx.screen.document(Kind::Job, view);
    }
    let job = &view.job;
    let mut page = Page::of(format!(
        "Job {}: {} {}",
        job.number,
        job.request.kind.word(),
        job.request.lane
    ));
    page.line(format!("  ref       {}", job.request.reference));
    if let Some(commit) = &job.request.commit {
        page.line(format!("  commit    {commit}"));
    }
    page.line(Line::from("  for       ").quote(job.request.by.to_string()));
    page.line(format!("  created   {}", job.created));
    page.line(format!("  attempts  {}", job.attempt));
    if let Some(first) = job.request.retry_of {
        page.line(format!("  again     job {first}"));
    }
    page.line(Line::from("  stands    ").quote(stands(view)));
    cx.screen.show(&page);
}

async fn logs(cx: &Cx, client: &Client, number: JobNumber, follow: bool) -> Result<Exit, Failure> {
    if follow {
        let wait = WaitArgs {
            wait: Period::from_secs(24 * 60 * 60),
            detach: false,
        };
        return watch_one(cx, client, number, &wait).await;
    }

    let (mut from, mut text) = (0, String::new());
    let last = loop {
        let piece = client
            .log(number, from, Patience::None)
            .await
            .map_err(|error| client.failure(&error))?;
        if piece.text.is_empty() {
            break piece.job;
        }
        text.push_str(&piece.text);
        from = piece.next;
    };
    for line in text.lines() {
        if cx.format == Format::Json {
            cx.screen
                .document_line(Kind::Log, &serde_json::json!({"text": line}));
        } else {
            cx.screen.show(&Page::of(Line::new().quote(line)));
        }
    }
    if let JobState::Ended { ending, .. } = &last.job.state {
        let _ = told(&cx.screen, number, ending);
    }
    Ok(Exit::Done)
}
