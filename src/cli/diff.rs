//! `shipit diff`

use serde_json::json;

use crate::cli::Cx;
use crate::ops::diff::diff;
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit diff                       what apply would change about the services
  shipit diff --detailed-exitcode   exit with 2 when something differs";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Exit with 2 when there are differences.
    #[arg(long)]
    detailed_exitcode: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let text = diff(&cx.session().await?).await?;
    match cx.format {
        Format::Json => {
            let is_different = !text.is_empty();
            let document = json!({"different": is_different, "diff": text});
            cx.screen.document(Kind::Diff, &document);
        }
        _ => cx.screen.show(&Page::document(&text)),
    }
    Ok(if args.detailed_exitcode && !text.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}
