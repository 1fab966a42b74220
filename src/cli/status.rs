//! `shipit status`

use std::time::Duration;

use jiff::Timestamp;

use crate::cli::{Cx, print};
use crate::ops::status::status;
use crate::output::{Exit, Failure, Format, status as view};

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on showing it, until Ctrl-C.
    #[arg(short, long)]
    watch: bool,

    /// In which form.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    loop {
        let status = status(&session).await?;
        let text = match args.output {
            Format::Json => format!(
                "{}\n",
                serde_json::to_string_pretty(&status).unwrap_or_default()
            ),
            _ => view::human(&status, Timestamp::now()),
        };
        if !args.watch {
            print(&text);
            return Ok(Exit::Done);
        }
        // Clears the screen and goes to its first line.
        print(&format!("\u{1b}[2J\u{1b}[H{text}"));
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
    }
}
