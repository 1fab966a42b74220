//! `shipit doctor`

use std::fmt::Write as _;

use crate::cli::{Cx, print};
use crate::ops::doctor::examine;
use crate::output::{Exit, Failure};

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
        print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&found).unwrap_or_default()
        ));
    } else {
        let mut text = String::new();
        for one in &found {
            match &one.fault {
                None => {
                    let _ = writeln!(text, "  ✓ {}", one.what);
                }
                Some(fault) => {
                    let _ = writeln!(text, "  ✗ {}: {fault}", one.what);
                    if let Some(help) = &one.help {
                        let _ = writeln!(text, "      help: {help}");
                    }
                }
            }
        }
        let _ = match faults {
            0 => writeln!(text, "All {} are well.", found.len()),
            1 => writeln!(text, "1 of {} is not well.", found.len()),
            _ => writeln!(text, "{faults} of {} are not well.", found.len()),
        };
        print(&text);
    }
    Ok(if faults == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}
