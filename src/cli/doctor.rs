//! `shipit doctor`

use crate::cli::Cx;
use crate::ops::doctor::examine;
use crate::output::{Exit, Failure, Page};
use crate::port::engine::CheckResult;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let found = examine(&session).await?;
    let faults = found.iter().filter(|one| one.fault.is_some()).count();
    if args.json {
        cx.screen.document(&found);
    } else {
        cx.screen.show(&human(&found, faults));
    }
    Ok(if faults == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn human(found: &[CheckResult], faults: usize) -> Page {
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
    page.line(match faults {
        0 => format!("All {} are ok.", found.len()),
        1 => format!("1 of {} is failing.", found.len()),
        _ => format!("{faults} of {} are failing.", found.len()),
    });
    page
}
