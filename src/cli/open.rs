//! `shipit open`

use std::io::IsTerminal as _;
use std::process::Stdio;

use serde_json::json;

use crate::cli::Cx;
use crate::files::environment;
use crate::model::Slot;
use crate::ops::open::urls;
use crate::output::{Exit, Failure, Format, Kind, Page};

/// What people type most.
const EXAMPLES: &str = "\
Examples:
  shipit open                what is live, in the browser
  shipit open green          what waits in green
  shipit open --print        only its address";

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The slot; without it the one with live traffic.
    #[arg(value_name = "blue|green")]
    slot: Option<Slot>,

    /// Print the addresses and open none; so it is where there is no terminal.
    #[arg(long)]
    print: bool,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let session = cx.session().await?;
    let urls = urls(&session, args.slot).await?;
    if cx.format == Format::Json {
        cx.screen.document(Kind::Urls, &json!({"urls": urls}));
        return Ok(Exit::Done);
    }

    let lines = urls
        .iter()
        .map(|url| format!("{} ({} in {})", url.url, url.what(), url.slot));
    cx.screen
        .show(&lines.map(crate::output::Line::from).collect());
    let looks_on = std::io::stdout().is_terminal() && !args.print;
    let mut pages = urls.iter().filter(|url| url.url.starts_with("http"));
    if let Some(first) = pages.next().filter(|_| looks_on)
        && !is_opened(&first.url)
    {
        cx.screen
            .say(&Page::of("note: no browser could be started"));
    }
    Ok(Exit::Done)
}

/// Starts a browser, and does not wait for it.
fn is_opened(url: &str) -> bool {
    let named = std::env::var("BROWSER")
        .ok()
        .filter(|name| !name.is_empty());
    let program = named.unwrap_or_else(|| {
        let own = if cfg!(target_os = "macos") {
            "open"
        } else {
            "xdg-open"
        };
        own.to_owned()
    });
    let mut browser = environment::blocking_program(program);
    browser
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    browser.spawn().is_ok()
}
