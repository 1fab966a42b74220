//! `shipit deliveries`

use clap::Subcommand;

use super::SocketArg;
use super::client::Client;
use crate::cli::Cx;
use crate::model::delivery::{RecordedDelivery, Verdict};
use crate::output::{Exit, Failure, Format, Kind, Line, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit deliveries list      what came, and what it meant
  shipit deliveries show 12   why nothing happened on it";

/// How far back one is looked for by its number.
const FAR: usize = 100_000;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: What,

    #[command(flatten)]
    server: SocketArg,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the newest deliveries of webhooks, hooks and commands.
    #[command(after_help = "Examples:\n  shipit deliveries list -n 50")]
    List {
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20)]
        last: usize,
    },
    /// Show a delivery, and why it was ignored if it was.
    #[command(after_help = "Examples:\n  shipit deliveries show 12")]
    Show {
        /// Its number.
        number: u64,
    },
}

pub(in crate::cli) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let client = Client::new(&args.server.socket);
    let last = match args.command {
        What::List { last } => last,
        What::Show { .. } => FAR,
    };
    let path = format!("/deliveries?last={last}");
    let found: Vec<RecordedDelivery> = client
        .get(&path)
        .await
        .map_err(|error| client.failure(&error))?;
    match args.command {
        What::List { .. } if cx.format == Format::Json => {
            cx.screen.document(Kind::Deliveries, &found);
        }
        What::List { .. } => cx.screen.show(&page(&found)),
        What::Show { number } => {
            let one = found
                .iter()
                .find(|one| one.number.0 == number)
                .ok_or_else(|| {
                    Failure::say(
                        Exit::Failed,
                        format!("there is no delivery {number}, or none any more"),
                        "`shipit deliveries list` shows them",
                    )
                })?;
            show(cx, one);
        }
    }
    Ok(Exit::Done)
}

fn jobs_of(one: &RecordedDelivery) -> String {
    let jobs: Vec<String> = one.jobs.iter().map(ToString::to_string).collect();
    jobs.join(", ")
}

fn meant(one: &RecordedDelivery) -> String {
    match &one.delivery.verdict {
        Verdict::Accepted => format!("job {}", jobs_of(one)),
        Verdict::Ignored { reason } => format!("ignored: {reason}"),
    }
}

fn page(found: &[RecordedDelivery]) -> Page {
    if found.is_empty() {
        return Page::of("Nothing has come yet.");
    }
    let row = |one: &RecordedDelivery| {
        [
            one.number.to_string(),
            one.delivery
                .received
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string(),
            one.delivery.door.clone(),
            one.delivery.event.clone(),
            meant(one).chars().take(80).collect(),
        ]
    };
    let rows = found.iter().map(row).collect();
    Page::table(
        ["delivery", "received (UTC)", "door", "event", "meant"],
        rows,
    )
}

fn show(cx: &Cx, one: &RecordedDelivery) {
    if cx.format == Format::Json {
        return cx.screen.document(Kind::Delivery, one);
    }
    let delivery = &one.delivery;
    let mut page = Page::of(format!("Delivery {} through {}", one.number, delivery.door));
    page.line(Line::from("  event     ").quote(&delivery.event));
    page.line(Line::from("  key       ").quote(&delivery.key));
    page.line(format!("  received  {}", delivery.received));
    page.line(format!(
        "  body      {} bytes, {}",
        delivery.size, delivery.sha256
    ));
    page.line(Line::from("  meant     ").quote(meant(one)));
    cx.screen.show(&page);
}
