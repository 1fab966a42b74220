//! `shipit doctor`

use serde_json::json;

use crate::cli::Cx;
use crate::cli::arguments::EnvironmentArg;
use crate::ops::doctor::examine;
use crate::output::{Exit, Failure, Format, Kind, Page};
use crate::port::engine::CheckResult;

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit doctor --env production                before the first apply
  shipit doctor --env production --output json  for a program";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    environment: EnvironmentArg,

    /// What `--output json` is.
    #[arg(long, hide = true)]
    json: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let cx = &cx.of(&args.environment)?;
    let session = cx.session().await?;
    let found = examine(&session).await?;
    if args.json || cx.format == Format::Json {
        let is_ok = failing(&found) == 0;
        cx.screen
            .document(Kind::Checks, &json!({"ok": is_ok, "checks": found}));
    } else {
        cx.screen.show(&human(&found));
    }
    Ok(if failing(&found) == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn failing(found: &[CheckResult]) -> usize {
    found.iter().filter(|one| one.fault.is_some()).count()
}

pub(super) fn human(found: &[CheckResult]) -> Page {
    let mut page = Page::new();
    for one in found {
        match &one.fault {
            None => page.line(format!("  ✓ {}", one.what)),
            Some(fault) => page.line(format!("  ✗ {}: {fault}", one.what)),
        }
        if let (Some(_), Some(help)) = (&one.fault, &one.help) {
            page.line(format!("      help: {help}"));
        }
    }
    page.line(match failing(found) {
        0 => "All checks are ok.".to_owned(),
        1 => format!("1 of {} checks is failing.", found.len()),
        faults => format!("{faults} of {} checks are failing.", found.len()),
    });
    page
}
