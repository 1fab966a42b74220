//! `shipit diff`

use serde_json::json;

use crate::cli::Cx;
use crate::cli::arguments::EnvironmentArg;
use crate::ops::alike::alike;
use crate::ops::diff::diff;
use crate::output::{Exit, Failure, Format, Kind, Page, comparison};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit diff                              what apply would change about the services
  shipit diff --detailed-exitcode          exit with 2 when something differs
  shipit diff staging --with production    whether the two are alike; exit with 2 when they are \
  not";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    /// Compare the environment with this one: what is live in both, and what is configured. In what
    /// they may differ stands in the configuration, as `may_differ: [services.*.replicas]`.
    #[arg(long, value_name = "ENV")]
    with: Option<String>,

    /// Exit with 2 when there are differences; with --with that is always so.
    #[arg(long)]
    detailed_exitcode: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    if let Some(with) = &args.with {
        return compare(cx, with).await;
    }

    let text = diff(&cx.session().await?).await?;
    match cx.format {
        Format::Json => {
            let is_different = !text.is_empty();
            let document = json!({"different": is_different, "diff": text});
            cx.screen.document(Kind::Diff, &document);
        }
        Format::Human => cx.screen.show(&Page::document(&text)),
        Format::Markdown => cx.screen.show(&Page::document(&text).fenced()),
    }
    Ok(if args.detailed_exitcode && !text.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

async fn compare(cx: &Cx, with: &str) -> Result<Exit, Failure> {
    let (session, other) = (cx.session().await?, cx.with(with).session().await?);
    let found = alike(&session, &other).await?;
    match cx.format {
        Format::Json => cx.screen.document(Kind::Comparison, &found),
        Format::Human => cx.screen.show(&comparison::human(&found)),
        Format::Markdown => cx.screen.show(&comparison::markdown(&found)),
    }
    Ok(
        match (found.differences.is_empty(), found.unknown.is_empty()) {
            (false, _) => Exit::Changes,
            // Whoever could not look has not found them alike.
            (true, false) => Exit::Failed,
            (true, true) => Exit::Done,
        },
    )
}
