//! `shipit history`

use crate::cli::{Cx, print};
use crate::ops::history::history;
use crate::output::{Exit, Failure, Format, history as view};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// In which form.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) async fn exec(cx: &Cx, args: &Args) -> Result<Exit, Failure> {
    let releases = history(&cx.session().await?).await?;
    print(&match args.output {
        Format::Json => format!(
            "{}\n",
            serde_json::to_string_pretty(&releases).unwrap_or_default()
        ),
        _ => view::table(&releases),
    });
    Ok(Exit::Done)
}
